"""Where the tests of kernels on images run: on a CUDA device or, with TRITON_INTERPRET=1, in Triton's interpreter."""

import os

import pytest
import torch

from core.bilevel import fused
from core.models import kernels

INTERPRETED = not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
NEEDED = pytest.mark.skipif(
    not INTERPRETED and not (torch.cuda.is_available() and fused.available(torch.device(DEVICE))),
    reason="no CUDA device with Triton; TRITON_INTERPRET=1 runs these in Triton's interpreter",
)
GPU = pytest.mark.skipif(INTERPRETED, reason="needs a GPU")


@pytest.fixture(autouse=True)
def interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the CPU for a device that kernels run on."""
    if INTERPRETED:
        monkeypatch.setattr(kernels, "available", lambda device: True)
