"""The benchmark of kernels runs: on a CPU, where torch's operations stand for them and a tape for the graph."""

import pytest
import torch

from benchmarks.image_kernels_cuda import LAYERS, TOLERANCE, candidates
from core.models import kernels
from tests.core.bilevel.test_graphs import Tape


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", LAYERS)
def test_it_runs(name: str, dtype: torch.dtype) -> None:
    available = kernels.available
    found = candidates(LAYERS[name], (4, 6, 3), dtype, torch.device("cpu"), Tape())
    assert list(found) == ["torch's operations", "kernels"]
    assert kernels.available is available
    for call in found.values():
        call()
