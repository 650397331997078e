"""Analytic steps of linear models = the plain dynamics and methods on the same objective."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.bilevel import dynamics as plain
from core.bilevel import hypergradients, linear_models, trees
from core.bilevel.linear_models import LOGISTIC, SOFTMAX, SQUARED, LinearModel, class_major, walk
from core.bilevel.linear_models.walk import Rate
from core.bilevel.problem import Dynamics, Hypergradient, Problem, Tree

LOSSES = {"softmax": SOFTMAX, "logistic": LOGISTIC, "squared": SQUARED}
CASES = {
    "seed": st.integers(0, 2**32),
    "loss": st.sampled_from(sorted(LOSSES)),
    "weighted": st.booleans(),
    "strength": st.sampled_from(["none", "global", "feature", "entry"]),
    "offset": st.booleans(),
    "learned": st.booleans(),
}


def learned_rate(lam: Any) -> Tensor:
    rate: Tensor = lam["log_rate"].exp()
    return rate


def sigmoid_weights(lam: Any) -> Tensor:
    weights: Tensor = lam["logit"].sigmoid()
    return weights


def forward(problem: Problem, dynamics: Dynamics, lam: Tree, *, steps: int, rate: Rate, **knobs: Any) -> Hypergradient:
    """Forward mode with the tangents written by hand."""
    push = partial(linear_models.push, rate=rate)
    return hypergradients.forward(problem, dynamics, lam, steps=steps, push=push, **knobs)


class Case:
    """A random problem with its plain and its analytic dynamics."""

    def __init__(
        self, *, seed: int, loss: str, weighted: bool, strength: str, offset: bool, learned: bool, examples: int = 9
    ) -> None:
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        features, classes = 4, 1 if loss == "logistic" else 3
        x, validation = draw(examples, features), draw(7, features)
        if offset:
            x = torch.cat([x, torch.ones(examples, 1, dtype=torch.float64)], dim=1)
        targets = {
            "softmax": torch.eye(3, dtype=torch.float64)[torch.randint(3, (examples,), generator=generator)],
            "logistic": torch.randint(2, (examples, 1), generator=generator).double(),
            "squared": draw(examples, classes),
        }[loss]
        shape = {"none": (1, 1), "global": (), "feature": (features, 1), "entry": (features, classes)}[strength]

        def strengths(lam: Any) -> Tensor:
            if strength == "none":
                return torch.zeros(1, 1, dtype=torch.float64)
            own: Tensor = lam["log_strength"].exp()
            if not offset:
                return own
            own = own.expand(features, classes)
            return torch.cat([own, own.new_zeros(1, classes)])

        self.model = LinearModel(x, targets, LOSSES[loss], strengths, sigmoid_weights if weighted else None, offset)
        self.lam: Tree = {
            "log_strength": draw(*shape) - 2,
            "logit": draw(examples),
            "log_rate": torch.tensor(-1.5, dtype=torch.float64),
            "start": draw(classes),
        }
        weight, goal = draw(features, classes), draw(7, classes)

        def init(lam: Any) -> Tree:
            return {"weight": weight * lam["start"]} | ({"bias": lam["start"]} if offset else {})

        def outer(w: Any, lam: Any) -> Tensor:
            scores = validation @ w["weight"] + w.get("bias", 0.0)
            value: Tensor = ((scores - goal) ** 2).mean() + 0.1 * lam["log_strength"].sum()
            return value

        self.problem = Problem(self.model.objective, outer, init, linear=self.model)
        self.rate: Rate = learned_rate if learned else 0.2
        self.dynamics = plain.gradient_descent(
            plain.full_batch(textbook(self.model)), init, rate=(lambda t, lam: learned_rate(lam)) if learned else 0.2
        )
        self.analytic = linear_models.gradient_descent(self.model, init, rate=self.rate)


def textbook(model: LinearModel) -> Callable[[Tree, Tree], Tensor]:
    """The objective by torch's own losses: shares nothing with the model but its data."""
    functional = torch.nn.functional

    def objective(w: Any, lam: Any) -> Tensor:
        matrix = torch.cat([w["weight"], w["bias"][None]]) if "bias" in w else w["weight"]
        scores = model.x @ matrix
        each = {
            "softmax": lambda: functional.cross_entropy(scores, model.targets.argmax(-1), reduction="none"),
            "logistic": lambda: functional.binary_cross_entropy_with_logits(
                scores, model.targets, reduction="none"
            ).sum(-1),
            "squared": lambda: 0.5 * ((scores - model.targets) ** 2).sum(-1),
        }[model.loss.name]()
        weights = 1.0 if model.weights is None else model.weights(lam)
        return (weights * each).mean() + 0.5 * (model.strengths(lam) * matrix**2).sum()

    return objective


def assert_same(found: Hypergradient, expected: Hypergradient, tolerance: float = 1e-10) -> None:
    assert trees.norm(trees.subtract(found.grad, expected.grad)) <= tolerance * trees.norm(expected.grad)
    assert torch.allclose(found.outer_loss, expected.outer_loss, rtol=tolerance)
    assert trees.norm(trees.subtract(found.state.w, expected.state.w)) <= tolerance * trees.norm(expected.state.w)
    assert found.diagnostics.keys() == expected.diagnostics.keys()
    for name, value in expected.diagnostics.items():
        assert torch.allclose(found.diagnostics[name], value, rtol=1e-9), name


@settings(max_examples=40, deadline=None, derandomize=True)
@given(**CASES)
def test_objective_and_gradient_are_autograd(**case: Any) -> None:
    made = Case(**case)
    model, lam, objective = made.model, made.lam, textbook(made.model)
    w = made.problem.init(lam)
    matrix = model.matrix(w)
    gradient = torch.func.grad(lambda matrix: objective(model.tree(matrix), lam))(matrix)
    assert torch.allclose(model.objective(w, lam), objective(w, lam), rtol=1e-12)
    found = walk.gradient(model, walk.coefficients(model, 0.1, lam), matrix.mT).mT
    assert torch.allclose(found, gradient, rtol=1e-10, atol=1e-13)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    **CASES,
    steps=st.integers(0, 7),
    kept=st.sampled_from([{}, {"segment": 2}, {"segment": "auto"}, {"snapshots": 2}, {"truncate": 3}]),
)
def test_reverse_is_the_plain_reverse(steps: int, kept: dict[str, Any], **case: Any) -> None:
    made = Case(**case)
    found = linear_models.reverse(made.problem, made.analytic, made.lam, steps=steps, rate=made.rate, **kept)
    assert_same(found, hypergradients.reverse(made.problem, made.dynamics, made.lam, steps=steps, **kept))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(**CASES, steps=st.integers(0, 6), chunk=st.sampled_from([None, 1, 3]))
def test_forward_is_the_plain_forward(steps: int, chunk: int | None, **case: Any) -> None:
    made = Case(**case)
    found = forward(made.problem, made.analytic, made.lam, steps=steps, rate=made.rate, chunk=chunk)
    assert_same(found, hypergradients.forward(made.problem, made.dynamics, made.lam, steps=steps))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(**CASES, directions=st.integers(1, 4), chunk=st.sampled_from([None, 2]))
def test_random_directions_go_through_the_written_out_tangents(directions: int, chunk: int | None, **case: Any) -> None:
    made = Case(**case)
    knobs: dict[str, Any] = {"steps": 5, "seed": 1, "k": 3, "directions": directions}
    push = partial(linear_models.push, rate=made.rate)
    found = hypergradients.random_forward(made.problem, made.analytic, made.lam, **knobs, chunk=chunk, push=push)
    assert_same(found, hypergradients.random_forward(made.problem, made.dynamics, made.lam, **knobs))


@settings(max_examples=8, deadline=None, derandomize=True)
@given(**CASES)
@pytest.mark.parametrize("method", [hypergradients.unrolled, hypergradients.reverse, hypergradients.forward])
def test_generic_methods_go_through_the_analytic_dynamics(method: Any, **case: Any) -> None:
    made = Case(**case)
    assert_same(
        method(made.problem, made.analytic, made.lam, steps=4), method(made.problem, made.dynamics, made.lam, steps=4)
    )


@pytest.mark.parametrize("examples", [8, 9, 11, 12])
@pytest.mark.parametrize("method", [linear_models.reverse, forward])
def test_chunks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch, method: Any, examples: int) -> None:
    """Also where the last chunk has to be filled up."""
    case: dict[str, Any] = {"seed": 1, "weighted": True, "strength": "feature", "offset": True, "learned": True}
    for loss in LOSSES:
        monkeypatch.setattr(class_major, "CHUNK_BYTES", 3 * 5 * 8)  # three rows of five features
        made = Case(loss=loss, examples=examples, **case)
        assert made.model.class_major.x.ndim == 3
        found = method(made.problem, made.analytic, made.lam, steps=4, rate=made.rate)
        assert_same(found, hypergradients.unrolled(made.problem, made.dynamics, made.lam, steps=4))
        assert_same(found, hypergradients.unrolled(made.problem, made.analytic, made.lam, steps=4))


@pytest.mark.parametrize("kept", [{}, {"segment": 40}, {"snapshots": 35}, {"truncate": 45}], ids=str)
def test_more_iterates_than_a_block_holds(kept: dict[str, Any]) -> None:
    made = Case(seed=2, loss="softmax", weighted=True, strength="global", offset=True, learned=True)
    found = linear_models.reverse(made.problem, made.analytic, made.lam, steps=90, rate=made.rate, **kept)
    assert_same(found, hypergradients.reverse(made.problem, made.dynamics, made.lam, steps=90, **kept))


def test_even_chunks_are_a_view() -> None:
    x = torch.zeros(4000, 200, dtype=torch.float64)
    data = class_major.class_major(x, torch.zeros(4000, 2, dtype=torch.float64))
    assert data.x.shape[0] > 1
    assert data.x.data_ptr() == x.data_ptr()


def test_the_start_is_that_of_the_dynamics() -> None:
    """As algorithms need that go on from where they were."""
    made = Case(seed=0, loss="softmax", weighted=True, strength="global", offset=True, learned=True)
    ended = made.dynamics.step(1, made.dynamics.init(made.lam), made.lam)
    going_on = [Dynamics(lambda lam: ended, phi.step) for phi in (made.analytic, made.dynamics)]
    found = linear_models.reverse(made.problem, going_on[0], made.lam, steps=3, rate=made.rate)
    assert_same(found, hypergradients.reverse(made.problem, going_on[1], made.lam, steps=3))


def test_float32_is_near_float64() -> None:
    case = partial(Case, seed=3, weighted=True, strength="global", offset=True, learned=True, examples=40)
    for loss in LOSSES:
        made = case(loss=loss)
        expected = linear_models.reverse(made.problem, made.analytic, made.lam, steps=200, rate=made.rate)
        single = LinearModel(
            made.model.x.float(),
            made.model.targets.float(),
            made.model.loss,
            partial(_single_strengths, made.model),
            made.model.weights,
            offset=True,
        )
        lam = trees.map_leaves(lambda leaf: leaf.float(), made.lam)

        def outer(w: Any, lam: Any, made: Case = made) -> Tensor:
            return made.problem.outer(
                trees.map_leaves(lambda leaf: leaf.double(), w), trees.map_leaves(lambda leaf: leaf.double(), lam)
            )

        def init(lam: Any, made: Case = made) -> Tree:
            start: Tree = trees.map_leaves(lambda leaf: leaf.float(), made.problem.init(lam))
            return start

        problem = Problem(single.objective, outer, init, linear=single)
        phi = linear_models.gradient_descent(single, init, rate=made.rate)
        for method in (linear_models.reverse, forward):
            found = method(problem, phi, lam, steps=200, rate=made.rate)
            error = trees.norm(trees.subtract(trees.map_leaves(lambda g: g.double(), found.grad), expected.grad))
            assert error <= 1e-4 * trees.norm(expected.grad)


def _single_strengths(model: LinearModel, lam: Tree) -> Tensor:
    return model.strengths(lam).float()


def test_divergence_shows() -> None:
    made = Case(seed=0, loss="squared", weighted=False, strength="global", offset=False, learned=False)
    for method in (linear_models.reverse, forward):
        found = method(made.problem, made.analytic, made.lam, steps=400, rate=1e3)
        assert not torch.isfinite(trees.norm(found.grad))
        assert not torch.isfinite(found.outer_loss)


def test_a_problem_that_is_not_linear_is_refused() -> None:
    problem = Problem(lambda w, lam: lam.sum(), lambda w, lam: lam.sum(), lambda lam: lam)  # type: ignore[union-attr]
    phi = plain.gradient_descent(plain.full_batch(problem.inner), problem.init, rate=0.1)
    for method in (linear_models.reverse, forward):
        with pytest.raises(ValueError, match="not stated as a linear model"):
            method(problem, phi, torch.ones(2), steps=1, rate=0.1)
