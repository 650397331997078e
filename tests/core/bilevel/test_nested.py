"""The nested algorithm: finds the minimizer, says what it sees, resumes to the bit."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from core.bilevel import optimizers, projections, trees
from core.bilevel.algorithms import nested
from core.bilevel.dynamics import full_batch, gradient_descent
from core.bilevel.hypergradients import exact, reverse
from core.bilevel.optimizers import OuterOptimizer
from core.bilevel.problem import Algorithm, AlgorithmState, Dynamics, Problem, Tree, steady
from core.bilevel.randomness import stream

TARGET = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
OPTIMIZERS = {
    "sgd": optimizers.sgd(rate=optimizers.inverse_time(0.3)),
    "momentum": optimizers.momentum(rate=optimizers.inverse_time(0.1), momentum=0.8),
    "adam": optimizers.adam(rate=optimizers.inverse_time(0.1, 0.01)),
}


def problem_at(k: int, *, noise: float = 0.0, rate: float = 0.5) -> tuple[Problem, Dynamics]:
    """w* = lam, E = 1/2 ||w - target_k||^2: the minimizer is the target."""
    target = TARGET + noise * torch.randn(3, generator=stream(0, "target", k), dtype=torch.float64)

    def inner(w: Any, lam: Any) -> Tensor:
        return 0.5 * ((w - lam["a"]) ** 2).sum()

    problem = Problem(
        inner,
        lambda w, lam: 0.5 * ((w - target) ** 2).sum(),
        lambda lam: torch.zeros_like(lam["a"]),
        lambda lam: lam["a"],
    )
    return problem, gradient_descent(full_batch(inner), problem.init, rate=rate)


def keep(lam: Tree) -> Tree:
    return lam


def go(algorithm: Algorithm, state: AlgorithmState, first: int, end: int) -> tuple[AlgorithmState, list[Any]]:
    series = []
    for k in range(first, end):
        state, values = algorithm.step(k, state)
        series.append(values)
    return state, series


def start() -> Any:
    return {"a": torch.zeros(3, dtype=torch.float64)}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_finds_the_minimizer(name: str) -> None:
    algorithm = nested(partial(problem_at, rate=0.9), steady(reverse), OPTIMIZERS[name], keep, steps=5)
    state, series = go(algorithm, algorithm.init(start()), 0, 200)
    assert torch.allclose(state.lam["a"], TARGET, atol=1e-3)  # type: ignore[index, call-overload, arg-type]
    assert series[-1]["outer_objective"] < 1e-6 < series[0]["outer_objective"]


def test_series_of_a_step_describe_lam_before_it() -> None:
    algorithm = nested(problem_at, steady(exact), OPTIMIZERS["sgd"], keep, steps=1)
    _, series = go(algorithm, algorithm.init(start()), 0, 1)
    assert series[0].keys() == {
        "outer_objective",
        "hypergradient_norm",
        "inner_objective_start",
        "inner_objective_end",
        "inner_gradient_norm",
    }
    assert torch.isclose(series[0]["outer_objective"], 0.5 * (TARGET**2).sum())
    assert torch.isclose(series[0]["hypergradient_norm"], torch.linalg.vector_norm(TARGET))


def test_projects_after_every_step() -> None:
    def project(lam: Any) -> Tree:
        return {"a": projections.l1_ball(lam["a"], 1.0)}

    algorithm = nested(problem_at, steady(exact), OPTIMIZERS["sgd"], project, steps=1)
    state, _ = go(algorithm, algorithm.init(start()), 0, 200)
    assert torch.allclose(state.lam["a"], projections.l1_ball(TARGET, 1.0), atol=1e-9)  # type: ignore[index, call-overload, arg-type]


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("stop", [0, 1, 7, 11])
def test_resumes_to_the_bit_from_named_leaves(name: str, stop: int) -> None:
    optimizer: OuterOptimizer = OPTIMIZERS[name]
    algorithm = nested(partial(problem_at, noise=0.3), steady(reverse), optimizer, keep, steps=5)
    whole, series = go(algorithm, algorithm.init(start()), 0, 12)
    half, _ = go(algorithm, algorithm.init(start()), 0, stop)
    saved = {leaf: value.clone() for leaf, value in trees.named_leaves(half).items()}
    again = trees.from_named_leaves(algorithm.init(start()), saved)
    resumed, rest = go(algorithm, again, stop, 12)
    assert all(torch.equal(a, b) for a, b in zip(trees.leaves(whole), trees.leaves(resumed), strict=True))
    assert [values["outer_objective"] for values in rest] == [values["outer_objective"] for values in series[stop:]]


def test_divergence_shows_in_the_series() -> None:
    algorithm = nested(partial(problem_at, rate=1e4), steady(reverse), OPTIMIZERS["adam"], keep, steps=100)
    _, series = go(algorithm, algorithm.init({"a": TARGET}), 0, 1)
    assert not torch.isfinite(series[0]["hypergradient_norm"])
