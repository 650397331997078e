"""Learned training data: hypergradients against finite differences, and ten examples that teach the digits."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from core.bilevel import trees
from core.bilevel.problem import Hypergradient, Tree
from core.build import Built
from core.datasets.splits import Examples, split_table
from core.datasets.tables import load_table
from core.errors import SplitInvalid
from core.problems.learned_data import per_class
from core.spec import Experiment
from core.spec.datasets import Wine
from core.spec.learned_problems import LearnedData
from core.spec.learned_reports import DATA_RATES

WINE: dict[str, Any] = {"kind": "learned_data", "dataset": {"kind": "wine"}, "draws": 2, "final_steps": 50}


@pytest.mark.parametrize("outer", [None, 9])
@pytest.mark.parametrize("objective", ["training", "validation"])
@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("model", [{"kind": "linear"}, {"kind": "mlp", "hidden": [4]}], ids=["linear", "mlp"])
def test_hypergradients_are_finite_differences(
    built: Callable[..., Built],
    hypergradient: Callable[..., Hypergradient],
    slope: Callable[..., float],
    direction: Callable[[Tree], Tree],
    model: dict[str, Any],
    batch: int | None,
    objective: str,
    outer: int | None,
) -> None:
    dynamics = {"kind": "heavy_ball", "rate": 0.1, "learn_rate": True, "batch": batch}
    problem = {**WINE, "model": model, "objective": objective, "outer_batch": outer, "l2": 0.01}
    algorithm = {"steps": 6, "dynamics": dynamics}
    instance = built(problem, algorithm).instance
    along = direction(instance.initial)
    expected = slope(*instance.at(0), instance.initial, along, 6)
    grad = hypergradient(problem, algorithm).grad
    assert float(trees.dot(grad, along)) == pytest.approx(expected, rel=1e-5)


def test_one_step_from_zero_is_written_out(built: Callable[..., Built]) -> None:
    dynamics = {"kind": "gradient_descent", "rate": 0.3}
    instance = built({**WINE, "examples_per_class": 2}, {"steps": 1, "dynamics": dynamics}).instance
    x, y = instance.initial["examples"], torch.tensor([0, 0, 1, 1, 2, 2])  # type: ignore[call-overload,index]
    phi = instance.at(0)[1]
    w = phi.step(1, phi.init(instance.initial), instance.initial).w
    rest = torch.nn.functional.one_hot(y, 3).double() - 1 / 3
    assert isinstance(w, dict)
    torch.testing.assert_close(w["weight"], 0.3 * x.T @ rest / 6)  # type: ignore[union-attr]
    torch.testing.assert_close(w["bias"], 0.3 * rest.mean(0))
    whole = instance.evaluate(instance.initial).validation["loss"].mean
    assert float(
        built({**WINE, "examples_per_class": 2, "objective": "validation"}).instance.at(0)[0].outer(w, {})
    ) == (pytest.approx(whole))


def test_real_minibatches_are_functions_of_seed_and_hyperiteration(built: Callable[..., Built]) -> None:
    instance = built({**WINE, "outer_batch": 20}).instance
    phi = instance.at(0)[1]
    w = phi.step(1, phi.init(instance.initial), instance.initial).w
    seen = [float(instance.at(k)[0].outer(w, instance.initial)) for k in (0, 1, 2, 1)]
    assert seen[1] == seen[3]
    assert len(set(seen)) == 3
    whole = built(WINE).instance.at(0)[0].outer(w, instance.initial)
    mean = sum(float(instance.at(k)[0].outer(w, instance.initial)) for k in range(200)) / 200
    assert mean == pytest.approx(float(whole), rel=0.03)


def raw(seed: int = 0) -> Any:
    table = load_table(Wine(), Path("none"))
    return split_table(table, train=89, validation=44, test=45, seed=seed)


def test_class_means_come_out_in_the_units_of_the_data(built: Callable[..., Built]) -> None:
    instance = built({**WINE, "initial": "class_means"}).instance
    files = instance.artifacts(instance.initial)["learned_examples"]
    train = raw().train
    expected = torch.stack([train.x[train.y == label].mean(0) for label in range(3)])
    torch.testing.assert_close(files["examples"], expected)
    assert files["labels"].tolist() == [0, 1, 2]
    torch.testing.assert_close(files["mean"] + files["standardized"] * files["scale"], files["examples"])
    torch.testing.assert_close(files["mean"], train.x.mean(0))
    torch.testing.assert_close(files["scale"], train.x.std(0, correction=0))
    several = built({**WINE, "initial": "class_means", "examples_per_class": 3}).instance.initial
    assert len(several["examples"].unique(dim=0)) == 9  # type: ignore[call-overload,index,union-attr]


def test_examples_come_from_their_class(built: Callable[..., Built]) -> None:
    instance = built({**WINE, "initial": "examples", "examples_per_class": 4}).instance
    files = instance.artifacts(instance.initial)["learned_examples"]
    train = raw().train
    for own, label in zip(files["examples"], files["labels"], strict=True):
        distance, row = (train.x - own).abs().sum(1).min(0)
        assert distance < 1e-9
        assert train.y[row] == label


def test_a_class_without_examples_is_said_so() -> None:
    problem = LearnedData.model_validate(WINE)
    examples = raw().train
    with pytest.raises(SplitInvalid, match="class 1: raise /problem/train"):
        per_class(examples._replace(y=torch.zeros_like(examples.y)), problem, torch.Generator())
    few = problem.model_copy(update={"examples_per_class": 60})
    rows = per_class(examples, few, torch.Generator())
    assert torch.bincount(examples.y[rows]).tolist() == [60, 60, 60]


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_rates_on_real_examples_are_chosen_by_validation_alone(built: Callable[..., Built], seed: int) -> None:
    """With these seeds the test set would choose another one, and the training set the largest."""
    instance = built(WINE, {"steps": 5}, seed=seed).instance
    distilling = instance.report.__self__
    split = distilling.split
    fits = {rate: distilling.fit(split.train, rate, WINE["final_steps"]) for rate in DATA_RATES}

    def best(examples: Examples) -> float:
        return min(DATA_RATES, key=lambda rate: float(distilling.mean_loss(fits[rate], examples)))

    found = instance.report(instance.initial)["all_real_examples"]["rate"]
    assert found == best(split.validation) != best(split.test)


@pytest.mark.parametrize("seed", [0, 1])
def test_ten_learned_examples_teach_the_digits(built: Callable[..., Built], seed: int) -> None:
    problem = {"kind": "learned_data", "draws": 3, "final_steps": 100}
    algorithm = {
        "steps": 15,
        "dynamics": {"kind": "gradient_descent", "rate": 0.1, "learn_rate": True},
        "optimizer": {"kind": "adam", "rate": 0.1},
    }
    instance, solver = built(problem, algorithm, seed=seed)
    state = solver.init(instance.initial)
    for k in range(40):
        state, _ = solver.step(k, state)
    before, after = (instance.evaluate(lam).test["accuracy"].mean for lam in (instance.initial, state.lam))
    assert before < 0.3
    assert after > 0.88
    report = json.loads(json.dumps(instance.report(state.lam)))
    assert report["learned"]["accuracy"]["mean"] == pytest.approx(after)
    assert report["as_many_real_examples"]["accuracy"]["highest"] < after - 0.08
    assert report["all_real_examples"]["accuracy"]["mean"] > 0.9
    assert report["as_many_real_examples"]["draws"] == 3
    assert (report["learned_examples"], report["real_examples"]) == (10, 898)
    assert float(instance.natural(state.lam)["rate"]) != pytest.approx(0.1)


REFUSED: tuple[tuple[dict[str, Any], dict[str, Any], str, str], ...] = (
    ({"dataset": {"kind": "diabetes"}}, {}, "/problem/dataset", "with classes"),
    ({"outer_batch": 90}, {}, "/problem/outer_batch", "training set (89)"),
    ({"outer_batch": 45, "objective": "validation"}, {}, "/problem/outer_batch", "validation set (44)"),
    ({"examples_per_class": 30}, {}, "/problem/examples_per_class", "lower `examples_per_class`"),
    ({"train": 200}, {}, "/problem/train", "lower `train`"),
    ({}, {"hypergradient": {"kind": "implicit"}}, "/problem/l2", "above zero"),
    ({}, {"hypergradient": {"kind": "first_order"}}, "/algorithm/hypergradient", "use `reverse`"),
    ({}, {"hypergradient": {"kind": "exact"}}, "/algorithm/hypergradient", "use `reverse`"),
    ({}, {"dynamics": {"kind": "gradient_descent", "batch": 4}}, "/algorithm/dynamics/batch", "training set (3)"),
)


@pytest.mark.parametrize(("problem", "algorithm", "pointer", "remedy"), REFUSED)
def test_what_cannot_be_is_refused(
    problem: dict[str, Any], algorithm: dict[str, Any], pointer: str, remedy: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Experiment.model_validate({"problem": {**WINE, **problem}, "algorithm": algorithm})
    (error,) = caught.value.errors()
    assert error["ctx"]["pointer"] == pointer
    assert remedy in error["msg"]
