"""What the tests of problems share: experiments built in float64 on small data, and finite differences."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.hypergradients.inner import run
from core.bilevel.problem import Dynamics, Hypergradient, Problem, Tree
from core.build import Built, build, make_context
from core.inner import build_inner
from core.methods import build_method
from core.spec import Experiment

Build = Callable[..., Built]
SMALL: dict[str, Any] = {
    "kind": "hyper_representation",
    "model": {"kind": "conv4", "filters": 3},
    "way": 3,
    "shot": 2,
    "query": 4,
    "meta_batch": 2,
}
"""A few-shot problem on the synthetic Omniglot."""

Slope = Callable[[Problem, Dynamics, Tree, Tree, int], float]


@pytest.fixture
def built(tmp_path: Path) -> Build:
    """(problem, algorithm={}, data_dir=..., **rest of the spec) -> instance and algorithm, in float64."""

    def make(problem: dict[str, Any], algorithm: dict[str, Any] | None = None, **rest: Any) -> Built:
        data_dir = rest.pop("data_dir", tmp_path)
        return build(in_double(problem, algorithm, **rest), device="cpu", data_dir=data_dir)

    return make


def in_double(problem: dict[str, Any], algorithm: dict[str, Any] | None = None, **rest: Any) -> Experiment:
    """A spec in float64."""
    resources = {"precision": "float64"}
    return Experiment.model_validate({"problem": problem, "algorithm": algorithm or {}, "resources": resources, **rest})


@pytest.fixture
def hypergradient(tmp_path: Path) -> Callable[..., Hypergradient]:
    """(problem, algorithm={}, data_dir=..., **rest of the spec) -> hypergradient at hyperiteration 0, in float64."""

    def compute(problem: dict[str, Any], algorithm: dict[str, Any] | None = None, **rest: Any) -> Hypergradient:
        data_dir = rest.pop("data_dir", tmp_path)
        spec = in_double(problem, algorithm, **rest)
        instance = build(spec, device="cpu", data_dir=data_dir).instance
        context = make_context(spec, device="cpu", data_dir=data_dir)
        method = build_method(spec, build_inner(spec.algorithm), context).at(0, ())
        return method(*instance.at(0), instance.initial, steps=spec.algorithm.steps)

    return compute


@pytest.fixture
def slope() -> Slope:
    """Central difference of lam -> E(w_T(lam), lam) along a direction."""

    def difference(problem: Problem, dynamics: Dynamics, lam: Tree, direction: Tree, steps: int) -> float:
        embed = problem.embed or (lambda lam: lam)

        def value(lam: Tree) -> Tensor:
            z = embed(lam)
            return problem.outer(run(dynamics, z, steps)[1].w, z)

        step = 1e-5
        ahead, behind = value(trees.axpy(step, direction, lam)), value(trees.axpy(-step, direction, lam))
        return float(ahead - behind) / (2 * step)

    return difference


@pytest.fixture
def direction() -> Callable[[Tree], Tree]:
    """A random tree like the given one."""

    def draw(lam: Tree) -> Tree:
        generator = torch.Generator().manual_seed(5)
        drawn: Tree = trees.map_leaves(lambda leaf: torch.randn(leaf.shape, dtype=leaf.dtype, generator=generator), lam)
        return drawn

    return draw
