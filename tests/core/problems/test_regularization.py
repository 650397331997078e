from collections.abc import Callable
from typing import Any

import pytest
import torch

from core.bilevel import trees
from core.bilevel.problem import Hypergradient, Tree
from core.build import Built
from core.errors import SplitInvalid
from core.problems.regularization import penalty
from core.spec import Experiment
from core.spec.problem_checks import analytic

SMALL = {"train": 30, "validation": 20}


@pytest.mark.parametrize("strength", ["global", "layer", "feature"])
@pytest.mark.parametrize("dataset", ["diabetes", "wine"])
@pytest.mark.parametrize("model", [{"kind": "linear"}, {"kind": "mlp", "hidden": [4, 3]}])
def test_hypergradients_are_finite_differences(
    built: Callable[..., Built],
    hypergradient: Callable[..., Hypergradient],
    slope: Callable[..., float],
    direction: Callable[[Tree], Tree],
    strength: str,
    dataset: str,
    model: dict[str, Any],
) -> None:
    if strength == "feature" and model["kind"] == "mlp":
        pytest.skip("refused: one strength a feature needs a linear model")
    problem = {"kind": "regularization", "dataset": {"kind": dataset}, "model": model, "strength": strength, **SMALL}
    dynamics = {"kind": "heavy_ball", "rate": 0.1, "momentum": 0.5, "learn_rate": True, "learn_momentum": True}
    algorithm = {"steps": 7, "dynamics": dynamics}
    instance = built(problem, algorithm).instance
    along = direction(instance.initial)
    assert set(instance.natural(instance.initial)) == {"strength", "rate", "momentum"}
    expected = slope(*instance.at(0), instance.initial, along, 7)
    grad = hypergradient(problem, algorithm).grad
    assert float(trees.dot(grad, along)) == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_minibatches_change_with_the_step_and_hypergradients_follow(
    built: Callable[..., Built],
    hypergradient: Callable[..., Hypergradient],
    slope: Callable[..., float],
    direction: Callable[[Tree], Tree],
) -> None:
    problem = {"kind": "regularization", **SMALL}
    algorithm = {"steps": 6, "dynamics": {"kind": "gradient_descent", "rate": 0.1, "batch": 5}}
    part, whole = built(problem, algorithm).instance, built(problem, {"steps": 6}).instance
    along = direction(part.initial)
    expected = slope(*part.at(0), part.initial, along, 6)
    assert float(trees.dot(hypergradient(problem, algorithm).grad, along)) == pytest.approx(expected, rel=1e-5)
    assert expected != pytest.approx(slope(*whole.at(0), whole.initial, along, 6), rel=1e-3)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("strength", ["global", "feature"])
@pytest.mark.parametrize("dataset", ["diabetes", "wine"])
def test_the_closed_form_is_stationary(built: Callable[..., Built], bias: bool, strength: str, dataset: str) -> None:
    problem = {
        "kind": "regularization",
        "dataset": {"kind": dataset},
        "model": {"kind": "linear", "bias": bias},
        "loss": "squared",
        "strength": strength,
        **SMALL,
    }
    found = built(problem, {"hypergradient": {"kind": "exact"}})
    stated, _ = found.instance.at(0)
    assert stated.solution is not None
    w = stated.solution(found.instance.initial)
    assert trees.named_leaves(w).keys() == trees.named_leaves(stated.init(found.instance.initial)).keys()
    assert trees.norm(torch.func.grad(stated.inner)(w, found.instance.initial)) < 1e-12


def test_a_singular_closed_form_is_nan_not_an_exception(built: Callable[..., Built]) -> None:
    stated, _ = built({"kind": "regularization", **SMALL}).instance.at(0)
    assert stated.solution is not None
    lam: Tree = {"log_strength": torch.tensor(float("nan"), dtype=torch.float64)}
    assert not trees.norm(stated.solution(lam)).isfinite()


def test_a_training_set_of_one_class_is_refused_by_the_logistic_loss(built: Callable[..., Built]) -> None:
    problem = {"kind": "regularization", "dataset": {"kind": "breast_cancer"}, "loss": "logistic", "train": 2}
    with pytest.raises(SplitInvalid, match="choose another /seed"):
        built(problem)
    built({**problem, "train": 30})
    built({**problem, "model": {"kind": "linear", "bias": False}})  # one minimizer all the same


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("strength", ["global", "feature"])
def test_analytic_steps_of_the_logistic_loss_are_the_plain_ones(
    hypergradient: Callable[..., Hypergradient], bias: bool, strength: str
) -> None:
    problem = {"kind": "regularization", "dataset": {"kind": "breast_cancer"}, "loss": "logistic", **SMALL}
    problem |= {"strength": strength, "model": {"kind": "linear", "bias": bias}}
    assert analytic(Experiment.model_validate({"problem": problem}).problem)
    dynamics = {"kind": "gradient_descent", "rate": 0.1, "learn_rate": True}
    found = {
        kind: hypergradient(problem, {"steps": 9, "dynamics": dynamics, "hypergradient": {"kind": kind}})
        for kind in ("unrolled", "reverse", "forward")
    }
    for kind in ("reverse", "forward"):
        torch.testing.assert_close(found[kind].grad, found["unrolled"].grad, rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(found[kind].outer_loss, found["unrolled"].outer_loss, rtol=1e-12, atol=0)


def test_offsets_are_not_regularized() -> None:
    strength = torch.tensor(2.0)
    w: Tree = {"weight": torch.ones(3, 2), "bias": torch.full((2,), 100.0)}
    assert float(penalty(w, strength)) == 0.5 * 2 * 6
    assert float(penalty(w, torch.tensor([1.0, 2.0, 3.0]))) == 0.5 * 2 * (1 + 2 + 3)
    assert float(penalty([w, w], torch.tensor([1.0, 2.0]))) == 0.5 * 6 * (1 + 2)
    assert float(penalty([w, w], strength)) == 0.5 * 2 * 12


def test_absolute_error_is_in_the_units_of_the_target(built: Callable[..., Built]) -> None:
    found = built({"kind": "regularization"}, {"hypergradient": {"kind": "exact"}})
    scores = found.instance.evaluate(found.instance.initial)
    assert 35 < scores.test["absolute_error"].mean < 55  # of a target from 25 to 346
    assert scores.test["absolute_error"].size == 442 - 221 - 110
    assert 0.1 < scores.validation["loss"].mean < 0.5  # half the squared error of a standardized target


def test_a_closed_form_is_evaluated_itself_not_its_approximation(built: Callable[..., Built]) -> None:
    exact = built({"kind": "regularization"}, {"steps": 1, "hypergradient": {"kind": "exact"}})
    approximate = built({"kind": "regularization"}, {"steps": 1})
    lam = exact.instance.initial
    assert (
        exact.instance.evaluate(lam).validation["loss"].mean
        < approximate.instance.evaluate(lam).validation["loss"].mean
    )


def test_better_strengths_are_found(built: Callable[..., Built]) -> None:
    algorithm = {"hypergradient": {"kind": "exact"}, "optimizer": {"kind": "adam", "rate": 0.2}}
    found = built({"kind": "regularization", "strength": "feature"}, algorithm)
    state = found.algorithm.init(found.instance.initial)
    for k in range(60):
        state, _ = found.algorithm.step(k, state)
    before, after = (
        found.instance.evaluate(lam).validation["loss"].mean for lam in (found.instance.initial, state.lam)
    )
    assert after < 0.95 * before
