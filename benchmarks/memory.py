"""Peak memory of one call, over what the process holds before it (Linux: the kernel's own high-water mark)."""

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path

MIB = 2**10  # the kernel counts in KiB


def peak_mb(call: Callable[[], object]) -> float | None:
    """MiB by which the resident memory rises at most during the call; None where the kernel does not say."""
    if sys.platform != "linux":
        return None
    ctypes.CDLL(None).malloc_trim(0)  # gives freed memory back, so that what the call takes again is counted
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = _resident("VmRSS")
    call()
    return max(_resident("VmHWM") - before, 0.0)


def _resident(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return float(line.split()[1]) / MIB
    raise RuntimeError(f"/proc/self/status has no {name}")
