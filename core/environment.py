"""What an experiment's numbers were made with: versions, device, threads, revision."""

import platform
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from core.spec import Experiment
from core.spec.base import Spec
from core.spec.datasets import BreastCancer, Diabetes, Digits, Wine
from core.spec.plugins import Plugin, distribution_of

ALWAYS = ("numpy", "safetensors")
"""Distributions that every experiment uses, beside torch."""


def environment(device: str, spec: Experiment | None = None) -> dict[str, Any]:
    """Of this process on the device, with the packages that the experiment uses."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "bilevel": _version("bilevel"),
        "packages": packages(spec),
        "platform": platform.platform(),
        "device": device,
        "device_name": _device_name(torch.device(device)),
        "threads": torch.get_num_threads(),
        "git_revision": git_revision(Path(__file__).resolve().parents[1]),
    }


def packages(spec: Experiment | None) -> dict[str, str | None]:
    """Distribution -> version: what every experiment uses, scikit-learn where its data are, those of its plugins."""
    found = {name: _version(name) for name in ALWAYS}
    for part in _parts(spec.problem) if spec is not None else ():
        if isinstance(part, Digits | BreastCancer | Wine | Diabetes):
            found["scikit-learn"] = _version("scikit-learn")
        if isinstance(part, Plugin) and (distribution := distribution_of(part)) is not None:
            found[distribution.name] = distribution.version
    return found


def _parts(spec: Spec) -> Iterator[Spec]:
    """The spec and all that it holds."""
    yield spec
    for name in type(spec).model_fields:
        if isinstance(value := getattr(spec, name), Spec):
            yield from _parts(value)


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git_revision(folder: Path) -> str | None:
    """The commit that the folder is a checkout of, with `+dirty` where files that git knows have changed since; None
    where it is not the top of one (an installed package)."""
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty=+dirty", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
