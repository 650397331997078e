"""Analytic, preconditioned implicit differentiation = the plain one, with fewer products."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.bilevel import hypergradients, linear_solve, trees
from core.bilevel.hypergradients.implicit import Linearization, implicit_at
from core.bilevel.linear_models import LOGISTIC, SOFTMAX, SQUARED, LinearModel
from core.bilevel.linear_models import implicit as analytic
from core.bilevel.linear_models.curvature import Curvature, curvature
from core.bilevel.linear_models.preconditioner import (
    OTHERS,
    FactorPerClass,
    OneFactor,
    factor_per_class,
    most_curved,
    one_factor,
    preconditioner,
)
from core.bilevel.problem import Dynamics, Hypergradient, Problem, State, Tree

LOSSES = {"softmax": SOFTMAX, "logistic": LOGISTIC, "squared": SQUARED}
CASES = {
    "seed": st.integers(0, 2**32),
    "loss": st.sampled_from(sorted(LOSSES)),
    "weighted": st.booleans(),
    "strength": st.sampled_from(["global", "feature", "entry"]),
    "offset": st.booleans(),
}
matrix = settings(max_examples=12, deadline=None, derandomize=True)


def made(
    *, seed: int, loss: str, weighted: bool, strength: str, offset: bool, n: int = 12, d: int = 4, log: float = -1.0
) -> tuple[Problem, Dynamics, Any, Tree]:
    """A random problem with the minimizer w*(lam) as its w_0, dynamics that stay there, lam and w*."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    classes = 2 if loss == "logistic" else 3
    x, validation = draw(n, d), draw(7, d)
    if offset:
        x, validation = (torch.cat([part, part.new_ones(len(part), 1)], 1) for part in (x, validation))
    hot = torch.eye(classes, dtype=torch.float64)
    targets = draw(n, classes) if loss == "squared" else hot[torch.randint(classes, (n,), generator=generator)]
    shape = {"global": (), "feature": (d, 1), "entry": (d, classes)}[strength]
    lam = {"strength": 0.3 * draw(*shape) + log, **({"logit": draw(n)} if weighted else {})}

    def strengths(lam: Any) -> Tensor:
        own = lam["strength"].exp()
        own = own.expand(d, own.shape[-1] if own.ndim else 1)
        return torch.cat([own, torch.zeros_like(own[:1])]) if offset else own

    def weights(lam: Any) -> Tensor:
        return lam["logit"].sigmoid()  # type: ignore[no-any-return]

    model = LinearModel(x, targets, LOSSES[loss], strengths, weights if weighted else None, offset)
    w = _minimizer(model, lam)

    def outer(w: Any, lam: Any) -> Tensor:
        scores = validation @ model.matrix(w)
        return model.loss.value(scores, hot[torch.arange(7) % classes], -1).mean() + 0.1 * lam["strength"].sum()

    problem = Problem(model.objective, outer, lambda lam: w, linear=model)
    return problem, Dynamics(lambda lam: State(w), lambda t, s, lam: s), lam, w


def _minimizer(model: LinearModel, lam: Any) -> Tree:
    """By Newton's method with a pseudo-inverse, as softmax offsets are not unique."""
    gradient = torch.func.grad(lambda weight: model.objective(model.tree(weight), lam))
    weight = torch.zeros(model.x.shape[1], model.targets.shape[1], dtype=torch.float64)
    for _ in range(30):
        slope, size = gradient(weight), weight.numel()
        hessian = torch.func.jacrev(gradient)(weight).view(size, size)
        weight = weight - (torch.linalg.pinv(hessian, rtol=1e-12, hermitian=True) @ slope.flatten()).view_as(weight)
    assert torch.linalg.vector_norm(gradient(weight)) < 1e-10
    return model.tree(weight)


def assert_close(found: Tree, expected: Tree, relative: float) -> None:
    assert trees.norm(trees.subtract(found, expected)) <= relative * trees.norm(expected)


def plain(problem: Problem, dynamics: Dynamics, lam: Tree, *, damping: float = 0.0, **knobs: Any) -> Hypergradient:
    def solve(operator: Any, rhs: Any, start: Any = None, /) -> linear_solve.Solution:
        return linear_solve.cg(operator, rhs, start, iterations=1000, tolerance=1e-12, **knobs)

    return hypergradients.implicit(problem, dynamics, lam, steps=0, solve=solve, damping=damping)


@matrix
@given(case=st.fixed_dictionaries(CASES), damping=st.sampled_from([0.0, 0.3]))
def test_both_solvers_agree_with_the_plain_one(case: dict[str, Any], damping: float) -> None:
    problem, phi, lam, _ = made(**case)
    expected = plain(problem, phi, lam, damping=damping)
    for make in (analytic.preconditioned, analytic.mixed_precision):
        found = implicit_at(
            problem,
            phi,
            lam,
            steps=0,
            solver_at=make(iterations=200, tolerance=1e-10, damping=damping),
            condition=analytic.stationarity,
            damping=damping,
        )
        assert found.diagnostics["solver_residual"] <= 1e-10
        assert_close(found.grad, expected.grad, 1e-7)
        torch.testing.assert_close(found.outer_loss, expected.outer_loss, rtol=1e-12, atol=0)


@matrix
@given(case=st.fixed_dictionaries(CASES))
def test_the_analytic_condition_is_the_plain_one(case: dict[str, Any]) -> None:
    problem, phi, lam, w = made(**case)
    generator = torch.Generator().manual_seed(case["seed"])
    x = State(trees.map_leaves(lambda leaf: torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype), w))
    here: list[Linearization] = [
        condition(problem, phi, State(w), lam, 0) for condition in (analytic.stationarity, hypergradients.stationarity)
    ]
    assert_close(here[0].operator(x), here[1].operator(x), 1e-10)
    assert_close(here[0].pull(x), here[1].pull(x), 1e-10)


@matrix
@given(case=st.fixed_dictionaries(CASES), damping=st.sampled_from([0.0, 0.3]))
def test_one_factor_is_of_the_mean_over_the_classes_of_the_hessian(case: dict[str, Any], damping: float) -> None:
    """Its blocks of single classes, averaged: P = 1/C sum_c H_cc."""
    hessian, r = hessian_and_residual(case, damping)
    mean = blocks(hessian).mean(0)
    torch.testing.assert_close(hessian.mean_over_classes(), mean, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(one_factor(hessian).solve(r) @ mean, r, rtol=1e-6, atol=1e-6)


def hessian_and_residual(case: dict[str, Any], damping: float) -> tuple[Curvature, Tensor]:
    problem, _, lam, w = made(**case)
    assert problem.linear is not None
    hessian = curvature(problem.linear, w, lam, damping)
    generator = torch.Generator().manual_seed(case["seed"])
    return hessian, torch.randn(hessian.strengths.shape, generator=generator, dtype=torch.float64)


def blocks(hessian: Curvature) -> Tensor:
    """H_cc [C, d, d], column by column."""
    classes, d = hessian.strengths.shape
    found = torch.zeros(classes, d, d, dtype=torch.float64)
    for c in range(classes):
        for j in range(d):
            v = torch.zeros(classes, d, dtype=torch.float64)
            v[c, j] = 1
            found[c, j] = hessian.product(v)[c]
    return found


@matrix
@given(
    case=st.fixed_dictionaries({**CASES, "loss": st.sampled_from(["softmax", "logistic"])}),
    damping=st.sampled_from([0.0, 0.3]),
    sizes=st.sampled_from([(20, 40), (120, 40), (12, 5)]),
)
def test_a_factor_per_class_is_of_its_most_curved_examples(
    case: dict[str, Any], damping: float, sizes: tuple[int, int]
) -> None:
    """Against P_c that is formed here from the examples, of which all together would be H_cc, and solved densely."""
    n, d = sizes  # k < d, k > d, and all examples
    hessian, r = hessian_and_residual({**case, "n": n, "d": d}, damping)
    x, own, strengths = hessian.data.x, hessian.own, hessian.strengths
    curved = torch.einsum("ci,id,ie->cde", own, x, x)
    torch.testing.assert_close(curved + torch.diag_embed(strengths), blocks(hessian), rtol=1e-10, atol=1e-12)
    chosen = own.argsort(descending=True)[:, : math.ceil(n * min(1, 32 / x.shape[1]))]
    all_examples = curved.diagonal(dim1=1, dim2=2)
    strengths = strengths + 2**-52 * (strengths + all_examples).mean()
    share = strengths / strengths.sum(0) if case["loss"] == "softmax" else torch.zeros_like(strengths)
    apart, solved = r - share * r.sum(0), []
    for c, some in enumerate(chosen):
        low_rank = torch.einsum("i,id,ie->de", own[c, some], x[some], x[some])
        others = (curved[c] - low_rank).diagonal()
        solved.append(torch.linalg.solve(low_rank + (strengths[c] + OTHERS * others).diag(), apart[c]))
    expected = torch.stack(solved)
    if case["loss"] == "softmax":
        expected = expected - (share * expected).sum(0) + r.sum(0) / (strengths + all_examples.mean()).sum(0)
    found = factor_per_class(hessian, most_curved(hessian)).solve(r)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


@matrix
@given(case=st.fixed_dictionaries(CASES), kind=st.sampled_from([OneFactor, FactorPerClass]))
def test_preconditioners_are_symmetric_and_positive_definite(case: dict[str, Any], kind: Any) -> None:
    hessian, r = hessian_and_residual(case, 0.0)
    close = one_factor(hessian) if kind is OneFactor else factor_per_class(hessian, most_curved(hessian))
    units = torch.eye(r.numel(), dtype=torch.float64).view(-1, *r.shape)
    inverse = torch.stack([close.solve(unit).flatten() for unit in units])
    scale = inverse.diagonal().sqrt()
    scaled = inverse / scale / scale.unsqueeze(1)  # a common offset of a softmax is curved by next to nothing
    torch.testing.assert_close(scaled, scaled.mT, rtol=0, atol=1e-8)
    assert torch.linalg.eigvalsh(scaled).min() > 0


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_each_loss_has_the_kind_that_suits_it(loss: str) -> None:
    """A factor for each class where there are several that differ by the examples they have their curvature from."""
    generator = torch.Generator().manual_seed(0)
    x, targets = torch.randn(100, 300, generator=generator), torch.eye(5).repeat(20, 1)
    scores = 40 * targets - 20
    scores[:10] = 20 * (targets[:10] + targets[:10].roll(1, 1)) - 20  # ten examples are between two classes each
    fitted = torch.linalg.lstsq(x, scores).solution

    def kind(w: Tensor) -> type:
        model = LinearModel(x, targets[:, : w.shape[1]], LOSSES[loss], lambda lam: lam, None, False)
        return type(preconditioner(curvature(model, model.tree(w), torch.ones(()))))

    assert kind(torch.zeros(300, 5)) is OneFactor
    assert kind(torch.zeros(300, 2)) is OneFactor
    assert kind(torch.zeros(300, 1)) is OneFactor
    assert kind(fitted) is (OneFactor if loss == "squared" else FactorPerClass)


def test_features_that_are_all_zero_are_left_to_the_strengths() -> None:
    """And a strength of next to nothing, in single precision: it is finite, and solves."""
    x = torch.cat([torch.randn(40, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(40, 2)], 1)
    targets = torch.eye(4).repeat(10, 1)
    model = LinearModel(x, targets, SOFTMAX, lambda lam: lam["strength"], None, False)
    for strength in (1e-2, 1e-30, 0.0):
        hessian = curvature(model, model.tree(torch.zeros(5, 4)), {"strength": torch.full((5, 1), strength)})
        assert torch.isfinite(factor_per_class(hessian, most_curved(hessian)).solve(torch.ones(4, 5))).all()


def test_the_squared_loss_is_solved_at_once() -> None:
    problem, phi, lam, _ = made(seed=0, loss="squared", weighted=True, strength="feature", offset=True)
    found = implicit_at(
        problem, phi, lam, steps=0, solver_at=analytic.preconditioned(), condition=analytic.stationarity
    )
    assert found.diagnostics["solver_iterations"] <= 2 + 1  # one for the residual


def badly_scaled(loss: str) -> tuple[Problem, Dynamics, Any, Tree]:
    """Features whose sizes and strengths are spread over decades."""
    problem, _, lam, _ = made(seed=1, loss=loss, weighted=False, strength="feature", offset=True, n=200, d=30, log=-3.0)
    model = problem.linear
    assert model is not None
    sizes = torch.cat([torch.logspace(-1, 1, 30, dtype=torch.float64), torch.ones(1, dtype=torch.float64)])
    scaled = LinearModel(model.x * sizes, model.targets, model.loss, model.strengths, None, True)
    w = _minimizer(scaled, lam)

    def outer(w: Any, lam: Any) -> Tensor:
        return model.loss.value(model.x[:50] @ scaled.matrix(w), model.targets[50:100], -1).mean()

    stated = Problem(scaled.objective, outer, lambda lam: w, linear=scaled)
    return stated, Dynamics(lambda lam: State(w), lambda t, s, lam: s), lam, w


@pytest.mark.parametrize(("loss", "times"), [("softmax", 1.5), ("logistic", 8)])
def test_preconditioning_takes_fewer_products_to_the_same_residual(loss: str, times: float) -> None:
    problem, phi, lam, _ = badly_scaled(loss)
    expected = plain(problem, phi, lam)
    found = implicit_at(
        problem,
        phi,
        lam,
        steps=0,
        solver_at=analytic.preconditioned(iterations=1000, tolerance=1e-12),
        condition=analytic.stationarity,
    )
    assert_close(found.grad, expected.grad, 1e-8)
    assert found.diagnostics["solver_iterations"] <= expected.diagnostics["solver_iterations"] / times


def in_single_precision(problem: Problem, lam: Any, w: Tree) -> tuple[Problem, Dynamics, Any]:
    model = problem.linear
    assert model is not None
    short = trees.map_leaves(torch.Tensor.float, w)
    linear = LinearModel(
        model.x.float(), model.targets.float(), model.loss, model.strengths, model.weights, model.offset
    )

    def outer(w: Any, lam: Any) -> Tensor:
        return model.loss.value(linear.x @ linear.matrix(w), linear.targets.roll(1, 0), -1).mean()

    stated = Problem(linear.objective, outer, lambda lam: short, linear=linear)
    phi = Dynamics(lambda lam: State(short), lambda t, s, lam: s)
    return stated, phi, trees.map_leaves(torch.Tensor.float, lam)


@pytest.mark.parametrize("strength", ["feature", "entry"])
@pytest.mark.parametrize("offset", [True, False])
@pytest.mark.parametrize("log", [-4.0, -9.0])
def test_single_precision_gets_as_far_with_a_factor_per_class(
    monkeypatch: pytest.MonkeyPatch, strength: str, offset: bool, log: float
) -> None:
    """What all classes have in common is rounding here: it must not be amplified by small strengths, or none."""
    problem, _, lam, w = made(
        seed=3, loss="softmax", weighted=False, strength=strength, offset=offset, n=100, d=40, log=log
    )
    stated, phi, short = in_single_precision(problem, lam, w)

    def found(kind: Callable[[Curvature], Any]) -> Hypergradient:
        monkeypatch.setattr(analytic, "preconditioner", kind)
        solver = analytic.preconditioned(iterations=1000, tolerance=1e-5)
        return implicit_at(stated, phi, short, steps=0, solver_at=solver, condition=analytic.stationarity)

    one, per_class = found(one_factor), found(lambda hessian: factor_per_class(hessian, most_curved(hessian)))
    assert per_class.diagnostics["solver_residual"] <= 1e-5
    assert per_class.diagnostics["solver_iterations"] <= one.diagnostics["solver_iterations"]


def test_a_model_that_is_not_finite_gives_what_is_not_finite() -> None:
    problem, phi, lam, _ = made(seed=0, loss="softmax", weighted=False, strength="feature", offset=True)
    for make in (analytic.preconditioned, analytic.mixed_precision):
        wrong = {**lam, "strength": lam["strength"] * torch.nan}
        found = implicit_at(problem, phi, wrong, steps=0, solver_at=make(), condition=analytic.stationarity)
        assert not torch.isfinite(trees.norm(found.grad))


def test_a_problem_that_is_no_linear_model_is_refused() -> None:
    problem = Problem(lambda w, lam: (w * w * lam).sum(), lambda w, lam: w.sum(), lambda lam: lam)  # type: ignore[operator, union-attr]
    phi = Dynamics(lambda lam: State(lam), lambda t, s, lam: s)
    with pytest.raises(ValueError, match="not stated as a linear model"):
        implicit_at(
            problem,
            phi,
            torch.ones(2),
            steps=0,
            solver_at=analytic.preconditioned(),
            condition=analytic.stationarity,
        )
