"""Where the tests of kernels on images run: on a CUDA device or, with TRITON_INTERPRET=1, in Triton's interpreter."""

import os
from collections.abc import Iterator

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


@pytest.fixture(params=[False, True], ids=["as planned", "in small pieces"])
def divided(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As images of these sizes are divided, and with many chunks, rows and tiles to a program, as large ones are."""
    from core.models import norm_triton, pool_triton

    plans = norm_triton._plan, pool_triton._plan
    if request.param:
        monkeypatch.setattr(norm_triton, "PROGRAMS", 1)
        monkeypatch.setattr(norm_triton, "ELEMENTS", 256)
        monkeypatch.setattr(pool_triton, "ELEMENTS", 64)
    for plan in plans:
        plan.cache_clear()
    yield
    for plan in plans:
        plan.cache_clear()


@pytest.fixture(autouse=True)
def interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the CPU for a device that kernels run on."""
    if INTERPRETED:
        monkeypatch.setattr(kernels, "available", lambda device: True)
