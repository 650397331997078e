"""The loop: hyperiterate, record, evaluate, checkpoint, stop."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from core.build import build
from core.checkpointing import Checkpoints
from core.datasets.origin import origin_of
from core.numerics import by_resources
from core.outcome import make_artifacts, make_result
from core.problems.artifacts import Artifacts, no_artifacts
from core.progress import Progress, restore
from core.recording import Recorder
from core.series import Series
from core.spec import Experiment
from core.thresholds import watched


class Finished(NamedTuple):
    """The experiment reached its last hyperiteration."""

    result: dict[str, Any]
    """Plain JSON data; numbers that are not finite as the strings "NaN", "Infinity", "-Infinity"."""
    artifacts: Mapping[str, tuple[str, bytes]]
    """File name -> media type and content."""


class Stopped(NamedTuple):
    """The experiment was asked to stop, and its checkpoint is written."""

    hyperiteration: int
    """The hyperiteration to go on with."""


def never() -> bool:
    """Does not ask to stop."""
    return False


@by_resources
def run(
    spec: Experiment,
    *,
    device: str,
    data_dir: Path,
    recorder: Recorder,
    checkpoints: Checkpoints,
    artifacts: Artifacts = no_artifacts,
    stop: Callable[[], bool] = never,
    checkpoint_seconds: float = 15.0,
) -> Finished | Stopped:
    """Goes on from the last checkpoint, or starts; the curve and the result are the same to the bit either way.

    Points of hyperiteration k describe lam_k. `stop` is asked before every hyperiteration. `artifacts` reads the files
    of other experiments that the spec refers to.

    Raises:
        Diverged: a hypergradient is not finite; the curve up to and with that hyperiteration is recorded.
        DataMissing: the data set is not in `data_dir`.
        ReferenceInvalid: another experiment has not what the spec asks of it.
        ProblemInvalid: the code of an installed package gives something else than was agreed on.
        CheckpointInvalid: the checkpoint is not one of this experiment.
    """
    started = time.perf_counter()
    instance, algorithm = build(spec, device=device, data_dir=data_dir, artifacts=artifacts)
    instance = replace(instance, origin=instance.origin or origin_of(spec.problem, data_dir))
    progress = Progress(0, algorithm.init(instance.initial))
    if (checkpoint := checkpoints.latest()) is not None:
        progress = restore(checkpoint, spec, like=progress)
        recorder.event("resumed", {"hyperiteration": progress.hyperiteration})
    series = Series(recorder, watched(spec), progress.diagnostics)
    progress = progress.spent(setup=time.perf_counter() - started)
    saved, last = time.monotonic(), spec.algorithm.hyperiterations

    for k in range(progress.hyperiteration, last + 1):
        stopping = stop()
        if stopping or time.monotonic() - saved > checkpoint_seconds:
            progress = progress.spent(hyperiterations=series.drain()).seen(series.seen)
            recorder.flush()
            checkpoints.save(progress.checkpoint(spec))
            saved = time.monotonic()
        if stopping:
            return Stopped(k)
        if k % spec.evaluated_every == 0 or k == last:
            progress = progress.spent(hyperiterations=series.drain()).seen(series.seen)
            progress, scores = progress.evaluate(instance, algorithm)
            recorder.points(k, scores.points())
            if k == last:
                break
            if progress.has_waited(spec):
                recorder.event("stopped_early", {"hyperiteration": k, "patience": spec.evaluation.patience})
                break
        series.start()
        state, values = algorithm.step(k, progress.state)
        series.add(k, values, instance.natural(progress.state.lam))
        progress = progress.advance(state)

    series.add_outer(progress.hyperiteration, instance.natural(progress.state.lam))
    result = make_result(spec, instance, progress, scores, device=device)
    recorder.flush()
    return Finished(result, make_artifacts(instance, progress))
