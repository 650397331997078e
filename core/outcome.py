"""What is left of an experiment when it is done: the result, and files worth keeping."""

import platform
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from core import plain
from core.bilevel import trees
from core.environment import environment
from core.errors import ProblemInvalid
from core.problems.instance import Instance
from core.progress import Progress, Scores
from core.spec import Experiment
from core.spec.judging import Worst, judged
from core.thresholds import Memory, summary

MEDIA_TYPE = "application/octet-stream"


def make_result(
    spec: Experiment, instance: Instance, progress: Progress, final: Scores, *, device: str
) -> dict[str, Any]:
    """The result as plain JSON data; accuracies are fractions, times seconds, memory MiB."""
    best = progress.best.scores if progress.best else final
    started = time.perf_counter()
    report = _plain_report(instance.report(progress.best_lam()))
    result = {
        "best": {"hyperiteration": best.hyperiteration, "validation": best.validation},
        "final": final._asdict(),
        "test": best.test,
        "selection": instance.selection._asdict(),
        "report": report,
        "diagnostics": summary(progress.diagnostics),
        "assumptions": judged(spec, _worst(progress.diagnostics)),
        "timing": _timing(progress, time.perf_counter() - started),
        "memory": _memory(device),
        "environment": environment(device, spec),
        "data": None if instance.origin is None else instance.origin.plain(),
        "spec_sha256": spec.sha256(),
    }
    found: dict[str, Any] = plain.data(result)
    return found


def _plain_report(report: object) -> Any:
    if not isinstance(report, Mapping):
        raise ProblemInvalid(f"report is a {type(report).__name__}: give an object, a dict by name")
    try:
        return plain.data(report, "report")
    except TypeError as error:
        raise ProblemInvalid(str(error)) from error


def _worst(seen: Memory) -> dict[str, Worst]:
    """What assumptions are judged by."""
    return {name: Worst(series.worst, series.worst_hyperiteration) for name, series in seen.items()}


def make_artifacts(instance: Instance, progress: Progress) -> dict[str, tuple[str, bytes]]:
    """The best outer variables by their paths, what their metrics are means of, the rows of a table that were drawn,
    and what the problem keeps.

    All as safetensors.
    """
    lam = progress.best_lam()
    files: dict[str, Mapping[str, Tensor]] = {"outer_variables": trees.named_leaves(lam)}
    if progress.best and progress.best.outcomes:
        files["evaluation"] = progress.best.outcomes
    if instance.origin is not None and instance.origin.rows is not None:
        files["split"] = instance.origin.rows._asdict()
    files |= instance.artifacts(lam)
    return {f"{name}.safetensors": (MEDIA_TYPE, _save(tensors)) for name, tensors in files.items()}


def _save(tensors: Mapping[str, Tensor]) -> bytes:
    return safetensors.torch.save({name: value.detach().cpu().clone() for name, value in tensors.items()})


def _timing(progress: Progress, report: float) -> dict[str, float]:
    seconds = progress.seconds
    return {
        "total_seconds": seconds.setup + seconds.hyperiterations + seconds.evaluations + report,
        "setup_seconds": seconds.setup,
        "hyperiterations_seconds": seconds.hyperiterations,
        "seconds_per_hyperiteration": seconds.hyperiterations / max(progress.hyperiteration, 1),
        "evaluation_seconds": seconds.evaluations,
        "report_seconds": report,
    }


def _memory(device: str) -> dict[str, float]:
    """Peaks of this process."""
    memory = {"peak_mb": _peak_mb()}
    if torch.device(device).type == "cuda":
        memory["peak_cuda_mb"] = torch.cuda.max_memory_allocated(device) / 2**20
    return memory


def _peak_mb() -> float:
    """Linux: VmHWM, in KiB; ru_maxrss there starts from the peak of the process that started this one."""
    if platform.system() == "Linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10
    unit = 2**20 if platform.system() == "Darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
