from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.bilevel import trees
from core.bilevel.problem import Hypergradient, Tree
from core.build import Built
from core.datasets import own
from core.datasets.tables import load_table
from core.errors import SplitInvalid
from core.problems.hyper_cleaning import Labels, corrupt, detection, weighting
from core.spec.datasets import Digits
from core.spec.problems import HyperCleaning

SMALL: dict[str, Any] = {"kind": "hyper_cleaning", "train": 40, "validation": 30, "final_steps": 20}
WEIGHTS = [{"kind": "sigmoid", "initial": 0.3}, {"kind": "clipped"}]
TRUE = torch.arange(1000) % 10


def test_exactly_the_fraction_is_corrupted_and_never_to_its_own_class() -> None:
    labels = corrupt(TRUE, classes=10, fraction=0.4, seed=0)
    assert int(labels.corrupted.sum()) == 400
    assert torch.equal(labels.given != TRUE, labels.corrupted)
    assert torch.equal(labels.true, TRUE)


def test_the_other_classes_are_uniform() -> None:
    labels = corrupt(TRUE, classes=10, fraction=0.9, seed=0)
    shift = (labels.given - TRUE)[labels.corrupted] % 10
    assert sorted(shift.unique().tolist()) == list(range(1, 10))
    assert ((torch.bincount(shift)[1:] - 100).abs() < 40).all()


def test_corruption_is_a_function_of_the_seed() -> None:
    one, same, other = (corrupt(TRUE, classes=10, fraction=0.5, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.given, same.given)
    assert not torch.equal(one.corrupted, other.corrupted)


def test_two_classes_are_swapped() -> None:
    labels = corrupt(torch.zeros(9, dtype=torch.int64), classes=2, fraction=0.5, seed=0)
    assert int(labels.given.sum()) == round(0.5 * 9) == 4


def test_detection() -> None:
    nothing = torch.zeros(6, dtype=torch.int64)
    labels = Labels(nothing, nothing, torch.tensor([True, True, True, False, False, False]))
    found = detection(torch.tensor([0.1, 0.2, 0.5, 0.4, 0.9, 1.0]), labels, 0.5)
    assert float(found["precision"]) == pytest.approx(2 / 3)
    assert float(found["recall"]) == pytest.approx(2 / 3)
    assert float(found["f1"]) == pytest.approx(2 / 3)
    assert float(detection(torch.ones(6), labels, 0.5)["f1"]) == 0


def test_thresholds_are_as_stated() -> None:
    assert weighting(HyperCleaning.model_validate({"weights": {"kind": "sigmoid"}})).threshold == 0.5
    clipped = weighting(HyperCleaning.model_validate({"weights": {"kind": "clipped"}, "corruption": 0.25}))
    assert clipped.total == 600
    assert clipped.threshold == 0.375
    assert clipped.initial.unique().tolist() == [0.75]


def test_labels_that_are_drawn_again_and_stay_are_not_counted_as_corrupted() -> None:
    knobs = {"dataset": {"kind": "digits"}, "train": 800, "corruption": 0.8, "weights": {"kind": "clipped"}}
    other, any_of = (weighting(HyperCleaning.model_validate({**knobs, "flip": flip})) for flip in ("other", "any"))
    assert other.total == 160
    assert any_of.total == 800 - round(0.8 * 0.9 * 800) == 224


@pytest.mark.parametrize("radius", [10.0, 1e6])
def test_clipped_weights_stay_in_their_set(built: Callable[..., Built], radius: float) -> None:
    problem = {**SMALL, "weights": {"kind": "clipped", "radius": radius}}
    dynamics = {"kind": "gradient_descent", "rate": 0.1, "learn_rate": True}
    found = built(problem, {"dynamics": dynamics, "optimizer": {"kind": "sgd", "rate": 100}, "steps": 5})
    state = found.algorithm.init(found.instance.initial)
    for k in range(3):
        state, _ = found.algorithm.step(k, state)
    assert isinstance(state.lam, dict)
    weight = state.lam["weight"]
    assert isinstance(weight, torch.Tensor)
    assert weight.min() >= 0
    assert weight.max() <= 1
    assert weight.sum() <= min(radius, 40) + 1e-9
    assert weight.std() > 0.1
    assert "log_rate" in state.lam


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("model", [{"kind": "linear"}, {"kind": "mlp", "hidden": [5]}])
@pytest.mark.parametrize("batch", [None, 7])
def test_hypergradients_are_finite_differences(
    built: Callable[..., Built],
    hypergradient: Callable[..., Hypergradient],
    slope: Callable[..., float],
    direction: Callable[[Tree], Tree],
    weights: dict[str, Any],
    model: dict[str, Any],
    batch: int | None,
) -> None:
    dynamics = {"kind": "gradient_descent", "rate": 0.2, "learn_rate": True, "batch": batch}
    problem, algorithm = {**SMALL, "weights": weights, "model": model}, {"steps": 6, "dynamics": dynamics}
    instance = built(problem, algorithm).instance
    along = direction(instance.initial)
    expected = slope(*instance.at(0), instance.initial, along, 6)
    grad = hypergradient(problem, algorithm).grad
    assert float(trees.dot(grad, along)) == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_learned_weights_find_flipped_labels_and_help(built: Callable[..., Built]) -> None:
    problem = {"kind": "hyper_cleaning", "train": 400, "validation": 200, "final_steps": 300}
    dynamics = {"kind": "gradient_descent", "rate": 0.5}
    algorithm = {"steps": 40, "dynamics": dynamics, "optimizer": {"kind": "sgd", "rate": 2000}}
    found = built(problem, algorithm)
    state = found.algorithm.init(found.instance.initial)
    for k in range(10):
        state, _ = found.algorithm.step(k, state)
    report = found.instance.report(state.lam)
    accuracy = {name: report[name]["accuracy"]["mean"] for name in ("baseline", "learned", "oracle")}
    assert report["f1"] > 0.88
    assert report["corrupted"] == 200
    assert accuracy["baseline"] + 0.1 < accuracy["learned"]
    assert accuracy["oracle"] - 0.03 < accuracy["learned"]
    assert float(found.instance.natural(state.lam)["f1"]) == report["f1"]
    assert (
        found.instance.natural(state.lam)["weight_clean"] > 0.5 > found.instance.natural(state.lam)["weight_corrupted"]
    )


def test_weights_of_one_for_all_are_the_baseline_and_the_truth_is_the_oracle(built: Callable[..., Built]) -> None:
    found = built({**SMALL, "weights": {"kind": "clipped", "radius": 40}}, {"steps": 20})
    corrupted = found.instance.artifacts(found.instance.initial)["examples"]["corrupted"]
    report = found.instance.report(found.instance.initial)
    assert report["learned"] == report["baseline"]
    told = found.instance.report({"weight": (1 - corrupted).double()})
    assert told["learned"] == told["oracle"]
    assert told["f1"] == told["precision"] == told["recall"] == 1
    assert told["removed"] == {"threshold": 0.001, "f1": 1, "precision": 1, "recall": 1}


def test_small_weights_are_found_and_not_removed(built: Callable[..., Built]) -> None:
    found = built({**SMALL, "weights": {"kind": "clipped", "radius": 40}}, {"steps": 20})
    corrupted = found.instance.artifacts(found.instance.initial)["examples"]["corrupted"].bool()
    small = torch.where(corrupted, 0.002, 1.0).double()
    report = found.instance.report({"weight": small})
    assert (report["f1"], report["removed"]["f1"]) == (1, 0)
    assert "removed" not in built(SMALL).instance.report(built(SMALL).instance.initial)


def test_artifacts_say_what_each_example_was(built: Callable[..., Built]) -> None:
    found = built(SMALL)
    examples = found.instance.artifacts(found.instance.initial)["examples"]
    assert {name: part.shape for name, part in examples.items()} == {
        **dict.fromkeys(("rows", "weights", "corrupted", "given_labels", "true_labels"), (40,)),
        **dict.fromkeys(("mean", "scale"), (64,)),
    }
    assert examples["corrupted"].dtype == torch.uint8
    assert torch.equal(examples["given_labels"] != examples["true_labels"], examples["corrupted"].bool())


def test_rows_lead_back_to_the_data_set(built: Callable[..., Built]) -> None:
    instance = built(SMALL, seed=3).instance
    examples = instance.artifacts(instance.initial)["examples"]
    table = load_table(Digits(), Path("none"))
    assert torch.equal(table.y[examples["rows"]], examples["true_labels"])
    standardized = (table.x[examples["rows"]] - examples["mean"]) / examples["scale"]
    torch.testing.assert_close(standardized, instance.artifacts.__self__.split.train.x)  # type: ignore[attr-defined]
    assert examples["scale"].isinf().any(), "some pixels are 0 everywhere"
    as_is = built({**SMALL, "standardize": False}, seed=3).instance
    kept = as_is.artifacts(as_is.initial)["examples"]
    assert torch.equal(kept["rows"], examples["rows"])
    assert not {"mean", "scale"} & kept.keys()


def test_examples_of_ones_own_are_weighed_by_trusted_ones(built: Callable[..., Built], tmp_path: Path) -> None:
    """Half of the labels are wrong, the validation set's are not."""
    x = torch.randn(90, 2, generator=torch.Generator().manual_seed(0))
    right = (x[:, 0] > 0).int().tolist()
    given = [1 - y if row % 2 and row < 60 else y for row, y in enumerate(right)]
    for name, rows in (("mine", range(60)), ("trusted", range(60, 80)), ("test", range(80, 90))):
        lines = [f"{x[row, 0]},{x[row, 1]},{given[row]}" for row in rows]
        (tmp_path / f"{name}.csv").write_text("\n".join(["a,b,y", *lines]))
    files = {name: tmp_path / f"{name}.csv" for name in ("mine", "trusted", "test")}
    made = own.add("mine", files["mine"], tmp_path, validation=files["trusted"], test=files["test"])
    problem = {"kind": "hyper_cleaning", "dataset": made.dataset.model_dump(), "train": 60, "validation": 20}
    found = built({**problem, "corruption": 0}, {"steps": 20, "optimizer": {"kind": "adam", "rate": 0.3}})
    state = found.algorithm.init(found.instance.initial)
    for k in range(20):
        state, _ = found.algorithm.step(k, state)
    examples = found.instance.artifacts(state.lam)["examples"]
    wrong = examples["rows"] % 2 == 1
    assert examples["weights"][wrong].mean() < 0.2
    assert examples["weights"][~wrong].mean() > 0.8


def test_nothing_corrupted_has_no_series_of_corrupted_weights(built: Callable[..., Built]) -> None:
    found = built({**SMALL, "corruption": 0})
    assert set(found.instance.natural(found.instance.initial)) == {"weight_clean"}


@pytest.mark.parametrize("weights", WEIGHTS)
def test_of_nothing_corrupted_the_report_says_nothing(built: Callable[..., Built], weights: dict[str, Any]) -> None:
    found = built({**SMALL, "corruption": 0, "weights": weights})
    assert found.instance.report(found.instance.initial).keys() == {"corrupted", "baseline", "learned"}
    told = built({**SMALL, "weights": weights})
    assert {"threshold", "f1", "precision", "recall", "oracle"} <= told.instance.report(told.instance.initial).keys()


def test_features_stay_as_they_are_where_that_is_asked(built: Callable[..., Built]) -> None:
    """Pixels of digits lie between 0 and 16; those at the edge are 0 everywhere."""
    lowest = []
    for standardize in (False, True):
        linear = built({**SMALL, "standardize": standardize}, {"steps": 1}).instance.at(0)[0].linear
        assert linear is not None
        lowest.append(float(linear.x.min()))
    assert lowest[0] == 0
    assert lowest[1] < -1


def test_the_models_at_the_end_can_be_fitted_to_the_validation_examples_too(built: Callable[..., Built]) -> None:
    """With all weights 1 that is plain training on both sets, written out here."""
    problem = {**SMALL, "final_on": "train_and_validation", "corruption": 0, "weights": {"kind": "clipped"}}
    algorithm = {"dynamics": {"kind": "gradient_descent", "rate": 0.3}}
    instance = built(problem, algorithm).instance
    report = instance.report(instance.initial)
    assert report["learned"] == report["baseline"]
    alone = built({**problem, "final_on": "train"}, algorithm).instance
    assert alone.report(alone.initial)["baseline"] != report["baseline"]
    cleaning: Any = instance.evaluate.__self__  # type: ignore[attr-defined]
    train, validation, test = cleaning.split
    x, y = torch.cat([train.x, validation.x]), torch.cat([train.y, validation.y])
    x = torch.cat([x, x.new_ones(len(x), 1)], 1)
    w = x.new_zeros(x.shape[1], 10)
    for _ in range(20):
        residual = (x @ w).softmax(1) - torch.nn.functional.one_hot(y, 10)
        w = w - 0.3 * (x.mT @ residual / len(x) + 0.001 * w)
    scores = torch.cat([test.x, test.x.new_ones(len(test.x), 1)], 1) @ w
    accuracy = (scores.argmax(1) == test.y).double().mean()
    assert report["baseline"]["accuracy"]["mean"] == pytest.approx(float(accuracy))
    loss = torch.nn.functional.cross_entropy(scores, test.y)
    assert report["baseline"]["loss"]["mean"] == pytest.approx(float(loss), rel=1e-9)


def test_labels_that_are_all_corrupted_are_said_so(built: Callable[..., Built]) -> None:
    """Drawn label by label, that may happen with few of them, at some seeds."""
    problem = {**SMALL, "train": 3, "corruption": 0.79, "flip": "any"}
    found = []
    for seed in range(12):
        try:
            instance = built(problem, seed=seed).instance
        except SplitInvalid as error:
            found.append(str(error))
        else:
            assert instance.natural(instance.initial)["weight_clean"].isfinite()
    assert 0 < len(found) < 12
    assert all("All 3 training labels are corrupted: lower /problem/corruption" in message for message in found)
