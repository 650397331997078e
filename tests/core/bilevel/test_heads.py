"""Ridge heads and prototypes against loops over tasks and classes, and as limits of gradient descent."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from core.bilevel import prototypes, ridge_heads, softmax_heads, trees
from core.bilevel.dynamics import full_batch, gradient_descent
from core.bilevel.hypergradients import exact, reverse
from core.bilevel.problem import Dynamics, Problem

TASKS, WAY, SHOT, QUERY = 3, 4, 2, 5
SUPPORT_LABELS = torch.arange(WAY).repeat_interleave(SHOT)
QUERY_LABELS = torch.arange(WAY).repeat_interleave(QUERY)
RATES = {"ridge": 0.2, "prototypes": 2.0}


def features(dimension: int = 6, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(examples: int) -> Tensor:
        return torch.randn(TASKS, examples, dimension, generator=generator, dtype=torch.float64)

    numbers = {"log_strength": math.log(0.3), "scale": 2.5, "offset": 0.7}
    outer = {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}
    return {"support": draw(WAY * SHOT), "query": draw(WAY * QUERY), **outer}


def stated(kind: str) -> tuple[Problem, Dynamics]:
    support: Any = {"support_labels": SUPPORT_LABELS, "way": WAY}
    module: Any = {"ridge": ridge_heads, "prototypes": prototypes}[kind]
    inner = partial(module.inner_objective, **support)
    init = partial({"ridge": softmax_heads, "prototypes": prototypes}[kind].init, way=WAY)
    outer, solution = partial(module.outer_objective, query_labels=QUERY_LABELS), partial(module.solution, **support)
    return Problem(inner, outer, init, solution), gradient_descent(full_batch(inner), init, rate=RATES[kind])


@pytest.mark.parametrize("dimension", [2, 6, 20])
def test_ridge_heads_solve_the_normal_equations_of_every_task(dimension: int) -> None:
    z = features(dimension)
    found = ridge_heads.solution(z, support_labels=SUPPORT_LABELS, way=WAY)
    strength, targets = z["log_strength"].exp(), functional.one_hot(SUPPORT_LABELS, WAY).double()
    for task in range(TASKS):
        x = torch.cat([z["support"][task], torch.ones(WAY * SHOT, 1, dtype=torch.float64)], 1)
        normal = x.T @ x / len(x) + strength * torch.eye(dimension + 1, dtype=torch.float64)
        torch.testing.assert_close(found[task], torch.linalg.solve(normal, x.T @ targets / len(x)))


def test_the_outer_objective_of_ridge_heads_is_that_of_scaled_scores() -> None:
    z = features()
    w = ridge_heads.solution(z, support_labels=SUPPORT_LABELS, way=WAY)
    losses = [
        functional.cross_entropy(z["scale"] * (z["query"][task] @ w[task, :-1] + w[task, -1]) + 0.7, QUERY_LABELS)
        for task in range(TASKS)
    ]
    found = ridge_heads.outer_objective(w, z, query_labels=QUERY_LABELS)
    torch.testing.assert_close(found, torch.stack(losses).mean())


def test_prototypes_are_a_loop_over_tasks_and_classes() -> None:
    z = features()
    problem, dynamics = stated("prototypes")
    assert problem.solution is not None
    w = problem.solution(z)
    losses = []
    for task in range(TASKS):
        means = [z["support"][task][label == SUPPORT_LABELS].mean(0) for label in range(WAY)]
        torch.testing.assert_close(w[task], torch.stack(means))  # type: ignore[call-overload,index]
        for q, label in zip(z["query"][task], QUERY_LABELS, strict=True):
            distances = torch.stack([(q - mean).square().sum() for mean in means])
            losses.append(-torch.log_softmax(-distances, 0)[label])
    torch.testing.assert_close(problem.outer(w, z), torch.stack(losses).mean())
    found = exact(problem, dynamics, z, steps=0)
    torch.testing.assert_close(found.outer_loss, torch.stack(losses).mean())


@pytest.mark.parametrize("kind", ["ridge", "prototypes"])
def test_the_closed_form_is_the_minimizer(kind: str) -> None:
    z = features()
    problem, _ = stated(kind)
    assert problem.solution is not None
    w = problem.solution(z)
    assert trees.norm(torch.func.grad(problem.inner)(w, z)) < 1e-12
    assert problem.inner(w, z) < problem.inner(trees.scale(1.01, w), z)


@pytest.mark.parametrize("kind", ["ridge", "prototypes"])
def test_the_closed_form_is_the_limit_of_gradient_descent(kind: str) -> None:
    z = features()
    problem, dynamics = stated(kind)
    expected = exact(problem, dynamics, z, steps=0)
    assert trees.norm(expected.grad) > 1e-2

    def error(steps: int) -> float:
        found = reverse(problem, dynamics, z, steps=steps)
        return float(trees.norm(trees.subtract(found.grad, expected.grad)) / trees.norm(expected.grad))

    errors = [error(steps) for steps in (2, 10, 50, 500)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1e-2
    assert errors[-1] < 1e-10


def test_all_outer_variables_of_ridge_heads_have_their_derivative() -> None:
    z = features()
    found: Any = exact(*stated("ridge"), z, steps=0).grad

    def value(**changed: Tensor) -> Tensor:
        problem = stated("ridge")[0]
        assert problem.solution is not None
        moved: Any = {**z, **changed}
        return problem.outer(problem.solution(moved), moved)

    for name in ("log_strength", "scale"):
        slope = (value(**{name: z[name] + 1e-6}) - value(**{name: z[name] - 1e-6})) / 2e-6
        assert abs(float(slope)) > 1e-4
        torch.testing.assert_close(found[name], slope, rtol=1e-6, atol=1e-9)
    assert abs(float(found["offset"])) < 1e-15  # a softmax does not see it


def test_a_system_that_is_not_finite_gives_nan() -> None:
    z = features()
    z["support"][1] = math.inf
    found = ridge_heads.solution(z, support_labels=SUPPORT_LABELS, way=WAY)
    assert torch.isnan(found[1]).all()
    assert torch.isfinite(found[0]).all()
