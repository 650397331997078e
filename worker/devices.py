"""Which devices a worker's slots use, found out without loading torch into the worker."""

import subprocess
import sys
from pathlib import Path

GPU_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))
"""Where one of these exists there may be a GPU that torch can use."""

COUNT = "import torch; print(torch.cuda.device_count())"


def devices(setting: str) -> list[str]:
    """The devices that BILEVEL_DEVICES means, at least one.

    Args:
        setting: `auto`, or a comma-separated list such as `cpu` or `cuda:0,cuda:1`.

    Raises:
        ValueError: it names something else.
    """
    if setting == "auto":
        return [f"cuda:{index}" for index in range(_count_gpus())] or ["cpu"]
    named = [device.strip() for device in setting.split(",")]
    for device in named:
        kind, _, index = device.partition(":")
        if device != "cpu" and not (kind == "cuda" and index.isdecimal()):
            raise ValueError(f"BILEVEL_DEVICES: `{device}` is neither `cpu` nor `cuda:<number>` (nor `auto` alone)")
    return named


def _count_gpus() -> int:
    """Asks a process of its own: a process that has touched CUDA can no longer be forked from."""
    if not any(path.exists() for path in GPU_DRIVERS):
        return 0
    answer = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True, timeout=120)
    return int(answer.stdout)
