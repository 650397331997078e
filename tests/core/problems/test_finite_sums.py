"""The problems of benchmarks of stochastic bilevel optimization, as they are defined there."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional

from core.bilevel import trees
from core.bilevel.finite_sum import ALL
from core.bilevel.problem import Tree
from core.build import Built
from core.errors import SplitInvalid
from core.problems.hyper_cleaning import corrupt_to_any
from core.problems.inner import entry
from core.problems.losses import logistic
from core.problems.random_quadratics import draw
from core.spec.problems import RandomQuadratics

LINEAR = {"kind": "linear", "bias": False}
LOGISTIC = {
    "kind": "regularization",
    "dataset": {"kind": "breast_cancer"},
    "model": LINEAR,
    "loss": "logistic",
    "strength": "feature",
    "initial_strength": 1.0,
    "initial_spread": 1.0,
    "initial_deviation": 1.0,
    "train": 30,
    "validation": 20,
}
CLASSES = {
    "kind": "regularization",
    "dataset": {"kind": "wine"},
    "model": LINEAR,
    "strength": "class",
    "train": 30,
    "validation": 20,
}
CLEANING = {"kind": "hyper_cleaning", "model": LINEAR, "l2": 0.4, "flip": "any", "train": 30, "validation": 20}
QUADRATICS = {"kind": "random_quadratics", "inner_dimension": 4, "outer_dimension": 3, "inner_examples": 25}


@pytest.mark.parametrize("problem", [LOGISTIC, CLASSES, CLEANING, QUADRATICS], ids=str)
def test_parts_are_means_over_rows_and_the_whole_is_the_problem_itself(
    built: Callable[..., Built], problem: dict[str, Any]
) -> None:
    instance = built(problem).instance
    stated, _ = instance.at(0)
    parts, lam = instance.finite_sum, instance.initial
    assert parts is not None
    w = trees.map_leaves(lambda leaf: torch.linspace(-1, 1, leaf.numel()).to(leaf.dtype).view_as(leaf), parts.init(lam))
    for part, whole, n in (
        (parts.inner, stated.inner, parts.inner_examples),
        (parts.outer, stated.outer, parts.outer_examples),
    ):
        each = torch.stack([part(w, lam, torch.tensor([i])) for i in range(n)])
        torch.testing.assert_close(each.mean(), whole(w, lam))
        torch.testing.assert_close(part(w, lam, ALL), whole(w, lam))
        torch.testing.assert_close(part(w, lam, slice(3, 9)), each[3:9].mean())


@pytest.mark.parametrize("problem", [LOGISTIC, CLASSES, QUADRATICS], ids=str)
def test_hypergradients_are_finite_differences(
    built: Callable[..., Built],
    hypergradient: Callable[..., Any],
    slope: Callable[..., float],
    direction: Callable[..., Any],
    problem: dict[str, Any],
) -> None:
    instance = built(problem, {"steps": 7}).instance
    along = direction(instance.initial)
    expected = slope(*instance.at(0), instance.initial, along, 7)
    found = hypergradient(problem, {"steps": 7}).grad
    assert float(trees.dot(found, along)) == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_logistic_loss_is_softmax_with_the_scores_zero_and_s() -> None:
    s, labels = torch.linspace(-4, 4, 9, dtype=torch.float64), torch.tensor([0, 1, 0, 1, 1, 0, 1, 0, 1])
    both = torch.stack([torch.zeros_like(s), s], 1)
    torch.testing.assert_close(
        logistic(s.unsqueeze(1), labels), functional.cross_entropy(both, labels, reduction="none")
    )


def test_initial_values_are_uniform_and_normal_draws(built: Callable[..., Built]) -> None:
    instance = built(LOGISTIC).instance
    assert instance.finite_sum is not None
    lam, w = entry(instance.initial, "log_strength"), entry(instance.finite_sum.init(instance.initial), "weight")
    assert lam.shape == (30,)
    assert 0 <= float(lam.min()) < 0.2 < 0.8 < float(lam.max()) < 1
    assert w.shape == (30, 1)
    assert 0.6 < float(w.std()) < 1.5


def test_one_strength_a_class(built: Callable[..., Built]) -> None:
    parts = built({**CLASSES, "initial_strength": 1.0}).instance.finite_sum
    assert parts is not None
    lam: Tree = {"log_strength": torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64).log1p()}
    weight = torch.arange(39, dtype=torch.float64).view(13, 3) / 10
    w: Tree = {"weight": weight}
    free: Tree = {"log_strength": torch.full((3,), -torch.inf, dtype=torch.float64)}
    penalty = 0.5 * ((weight**2).sum(0) * torch.tensor([1.0, 2.0, 3.0])).sum()
    torch.testing.assert_close(parts.inner(w, lam, ALL) - parts.inner(w, free, ALL), penalty)


def test_labels_drawn_from_all_classes_may_stay() -> None:
    true = torch.zeros(20_000, dtype=torch.int64)
    labels = corrupt_to_any(true, classes=10, fraction=0.5, seed=0)
    assert float(labels.corrupted.double().mean()) == pytest.approx(0.45, abs=0.02)
    assert torch.equal(labels.corrupted, labels.given != true)
    counts = torch.bincount(labels.given, minlength=10)[1:].double() / 20_000
    assert float((counts - 0.05).abs().max()) < 0.01


def test_the_value_function_is_the_outer_objective_at_the_inner_solution(built: Callable[..., Built]) -> None:
    instance = built(QUADRATICS).instance
    stated, _ = instance.at(0)
    _, h = draw(RandomQuadratics.model_validate(QUADRATICS), 0)
    assert stated.solution is not None
    solution = stated.solution
    torch.testing.assert_close(
        torch.func.grad(stated.inner)(solution(instance.initial), instance.initial), torch.zeros(4, dtype=torch.float64)
    )

    def value(own: torch.Tensor) -> torch.Tensor:
        return stated.outer(solution({"lam": own}), {"lam": own})

    own = entry(instance.initial, "lam")
    torch.testing.assert_close(h.value(own), value(own))
    torch.testing.assert_close(h.gradient(own), torch.func.grad(value)(own))
    torch.testing.assert_close(h.A, torch.func.hessian(value)(own))
    assert float(torch.linalg.eigvalsh(h.A)[0]) > 0
    assert instance.evaluate(instance.initial).test["suboptimality"].mean > 0


def test_draws_have_the_stated_spectra() -> None:
    chosen = RandomQuadratics(inner_dimension=6, outer_dimension=4, inner_examples=200_000, outer_examples=8)
    (inner, _), _ = draw(chosen, 1)
    mean = inner.mean()
    expected = torch.logspace(-1, 0, 6, dtype=torch.float64)
    torch.testing.assert_close(torch.linalg.eigvalsh(mean.H), expected, rtol=0.03, atol=0.01)
    outer = torch.cat([torch.zeros(1, dtype=torch.float64), torch.logspace(-1, 0, 3, dtype=torch.float64)])
    torch.testing.assert_close(torch.linalg.eigvalsh(mean.G), outer, rtol=0.03, atol=0.01)
    torch.testing.assert_close(
        torch.linalg.svdvals(mean.C), torch.full((4,), 0.1, dtype=torch.float64), rtol=0.05, atol=0.01
    )


def test_draws_without_a_convex_value_function_are_said_so() -> None:
    few = RandomQuadratics(inner_dimension=6, outer_dimension=6, inner_examples=6, outer_examples=1, coupling=100)
    with pytest.raises(SplitInvalid, match="lower /problem/coupling or raise /problem/outer_examples"):
        draw(few, seed=0)
