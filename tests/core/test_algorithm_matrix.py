"""Every problem x algorithm that goes on from the last inner variables: in either precision, and on every device."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from core.bilevel import trees
from core.bilevel.problem import Tree
from core.build import build
from core.spec import Experiment
from tests.core.small import ALGORITHMS, difference, kept_on, kinds


class Moved(NamedTuple):
    """What the hyperiterations of an algorithm did."""

    lam: Tree
    """By how much the outer variables changed."""
    w: Tree


def moved(spec: Experiment, data_dir: Path, device: str = "cpu") -> Moved:
    """All hyperiterations of the spec, made."""
    instance, algorithm = build(spec, device=device, data_dir=data_dir)
    assert algorithm.inner is not None
    state = algorithm.init(instance.initial)
    for k in range(spec.algorithm.hyperiterations):
        state, _ = algorithm.step(k, state)
    return Moved(trees.subtract(state.lam, instance.initial), algorithm.inner(state))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("problem", kinds("problem"))
def test_algorithms_in_float32_are_those_in_float64(problem: str, algorithm: str, synthetic_omniglot: Path) -> None:
    if (double := kept_on(problem, algorithm)) is None:
        pytest.skip("refused")
    single = kept_on(problem, algorithm, "float32")
    assert single is not None
    found, expected = moved(single, synthetic_omniglot), moved(double, synthetic_omniglot)
    assert {leaf.dtype for leaf in trees.leaves(found)} == {torch.float32}
    assert difference(found.lam, expected.lam) < 1e-4
    assert difference(found.w, expected.w) < 1e-5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("problem", kinds("problem"))
def test_algorithms_on_cuda_are_those_on_the_cpu(problem: str, algorithm: str, synthetic_omniglot: Path) -> None:
    if (spec := kept_on(problem, algorithm)) is None:
        pytest.skip("refused")
    found, expected = moved(spec, synthetic_omniglot, "cuda"), moved(spec, synthetic_omniglot)
    assert {leaf.device.type for leaf in trees.leaves(found)} == {"cuda"}
    assert difference(found.lam, expected.lam) < 1e-8
    assert difference(found.w, expected.w) < 1e-8
