"""Whether kernels of our own, in Triton, can be made on this machine, and the device that they are launched on."""

import shutil
import sysconfig
from contextlib import AbstractContextManager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

CAPABILITY = (8, 0)
"""The oldest GPUs whose tensor cores multiply both formats that the kernels use: those of 2020 (A100)."""


def available(device: torch.device) -> bool:
    """On a CUDA device of 2020 or later, with Triton and what it compiles with; elsewhere torch's operators compute."""
    return device.type == "cuda" and compiles() and _new_enough(device.index)


@lru_cache
def compiles() -> bool:
    """Triton is there, as it is where torch's CUDA builds for Linux are, and so are a C compiler and Python's headers.

    It builds what launches a kernel with these, when the kernel is first used.
    """
    scheme = sysconfig.get_default_scheme()
    folder = sysconfig.get_paths("posix_prefix" if scheme == "posix_local" else scheme)["include"]
    compiler = shutil.which("gcc") or shutil.which("clang")
    return find_spec("triton") is not None and compiler is not None and Path(folder, "Python.h").exists()


@lru_cache
def _new_enough(index: int | None) -> bool:
    return torch.cuda.get_device_capability(index) >= CAPABILITY


def device_of(tensor: Tensor) -> AbstractContextManager[object]:
    """Makes the tensor's device the current one, if it is a CUDA device: kernels and graphs are launched on that."""
    made: AbstractContextManager[object] = torch.cuda.device_of(tensor)  # type: ignore[no-untyped-call]
    return made
