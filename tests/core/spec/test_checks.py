"""Every refusal names the field by a JSON pointer and says what to change."""

from typing import Any

import pytest
from pydantic import ValidationError

from core.spec import Experiment
from core.spec.checks import DENSE_LIMIT, FORWARD_LIMIT
from core.spec.datasets import Omniglot

GD = {"kind": "gradient_descent"}
REPRESENTATION: dict[str, Any] = {"kind": "hyper_representation"}
CLEANING: dict[str, Any] = {"kind": "hyper_cleaning"}
TRUSTED = {"kind": "table", "rows": 100, "columns": 3, "labels": 2, "validation_rows": 30}
RIDGE: dict[str, Any] = {"kind": "regularization"}
LOGISTIC: dict[str, Any] = {"kind": "regularization", "dataset": {"kind": "wine"}}


def implicit(solver: str = "cg") -> dict[str, Any]:
    return {"kind": "implicit", "solver": {"kind": solver}}


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    # name: problem, algorithm, pointer, a part of the message
    "support and query": ({**REPRESENTATION, "shot": 6}, {}, "/problem/query", "at most 14"),
    "shots alone": ({**REPRESENTATION, "shot": 20, "query": 1}, {}, "/problem/shot", "lower `shot`"),
    "train and validation": ({**CLEANING, "train": 1500}, {}, "/problem/train", "1797 examples"),
    "own validation set": (
        {**CLEANING, "dataset": TRUSTED, "validation": 31},
        {},
        "/problem/validation",
        "30 of its own",
    ),
    "beside an own validation set": (
        {**CLEANING, "dataset": TRUSTED, "train": 101, "validation": 30},
        {},
        "/problem/train",
        "train = 101, but table has 100 examples",
    ),
    "left to test beside an own validation set": (
        {**CLEANING, "dataset": TRUSTED, "train": 80, "validation": 30, "test": 21},
        {},
        "/problem/test",
        "21 test examples, but 20 are left",
    ),
    "nothing left to test": ({**CLEANING, "train": 1397}, {}, "/problem/test", "0 are left"),
    "too large a test set": ({**CLEANING, "test": 598}, {}, "/problem/test", "597 are left"),
    "own test set": (
        {**CLEANING, "dataset": {"kind": "mnist"}, "test": 10_001},
        {},
        "/problem/test",
        "10000 are left",
    ),
    "number as class": ({**RIDGE, "loss": "cross_entropy"}, {}, "/problem/loss", "`squared`"),
    "feature strengths of an mlp": (
        {**RIDGE, "model": {"kind": "mlp"}, "strength": "feature"},
        {},
        "/problem/strength",
        "`linear`",
    ),
    "no labels to clean": (
        {**CLEANING, "dataset": {"kind": "housing"}},
        {},
        "/problem/dataset",
        "data set with classes",
    ),
    "all labels corrupted": ({**CLEANING, "corruption": 0.9999}, {}, "/problem/corruption", "lower `corruption`"),
    "exact without closed form": (
        LOGISTIC,
        {"hypergradient": {"kind": "exact"}},
        "/algorithm/hypergradient",
        "`reverse` or `implicit`",
    ),
    "exact for a network": (
        {**RIDGE, "model": {"kind": "mlp"}},
        {"hypergradient": {"kind": "exact"}},
        "/algorithm/hypergradient",
        "closed form",
    ),
    "forward with a network outside": (
        REPRESENTATION,
        {"hypergradient": {"kind": "forward"}},
        "/algorithm/hypergradient",
        f"at most {FORWARD_LIMIT}",
    ),
    "truncate": (
        {"kind": "quadratic"},
        {"steps": 5, "hypergradient": {"kind": "reverse", "truncate": 6}},
        "/algorithm/hypergradient/truncate",
        "lower `truncate`",
    ),
    "segment": (
        {"kind": "quadratic"},
        {"steps": 5, "hypergradient": {"kind": "reverse", "segment": 6}},
        "/algorithm/hypergradient/segment",
        "lower `segment`",
    ),
    "segment and truncate": (
        {"kind": "quadratic"},
        {"steps": 5, "hypergradient": {"kind": "reverse", "segment": 2, "truncate": 3}},
        "/algorithm/hypergradient/segment",
        "leave out",
    ),
    "snapshots": (
        {"kind": "quadratic"},
        {"steps": 5, "hypergradient": {"kind": "reverse", "snapshots": 6}},
        "/algorithm/hypergradient/snapshots",
        "lower `snapshots`",
    ),
    "snapshots and segment": (
        {"kind": "quadratic"},
        {"steps": 5, "hypergradient": {"kind": "reverse", "snapshots": 2, "segment": "auto"}},
        "/algorithm/hypergradient/snapshots",
        "leave out",
    ),
    "snapshots and truncate": (
        {"kind": "quadratic"},
        {"steps": 5, "hypergradient": {"kind": "reverse", "snapshots": 2, "truncate": 3}},
        "/algorithm/hypergradient/snapshots",
        "leave out",
    ),
    "reversible descent": (
        {"kind": "quadratic"},
        {"hypergradient": {"kind": "reversible"}},
        "/algorithm/dynamics",
        "`heavy_ball`",
    ),
    "reversible without momentum": (
        {"kind": "quadratic"},
        {"dynamics": {"kind": "heavy_ball", "momentum": 0}, "hypergradient": {"kind": "reversible"}},
        "/algorithm/dynamics/momentum",
        "raise it",
    ),
    "new tasks in real time": (
        REPRESENTATION,
        {"kind": "real_time", "hypergradient": {"kind": "reverse"}},
        "/algorithm/kind",
        "`nested`",
    ),
    "tangents in chunks in real time": (
        {"kind": "quadratic"},
        {"kind": "real_time", "hypergradient": {"kind": "forward", "chunk": 2}},
        "/algorithm/hypergradient/chunk",
        "leave `chunk` out",
    ),
    "rates of steps in real time": (
        {"kind": "quadratic"},
        {"kind": "real_time", "dynamics": {**GD, "learn_rate": True, "rate_per_step": True}},
        "/algorithm/dynamics/rate_per_step",
        "leave it out",
    ),
    "momenta of steps in real time": (
        {"kind": "quadratic"},
        {"kind": "real_time", "dynamics": {"kind": "nesterov", "learn_momentum": True, "momentum_per_step": True}},
        "/algorithm/dynamics/momentum_per_step",
        "leave it out",
    ),
    "momenta of steps that nothing learns": (
        {"kind": "quadratic"},
        {"dynamics": {"kind": "heavy_ball", "momentum_per_step": True}},
        "/algorithm/dynamics/momentum_per_step",
        "set `learn_momentum` too",
    ),
    "window longer than the interval": (
        {"kind": "quadratic"},
        {"kind": "real_time", "interval": 5, "hypergradient": {"kind": "reverse", "truncate": 6}},
        "/algorithm/hypergradient/truncate",
        "lower `truncate`",
    ),
    "large dense": (
        {**CLEANING, "dataset": {"kind": "mnist"}},
        {"hypergradient": implicit("dense")},
        "/algorithm/hypergradient/solver",
        f"at most {DENSE_LIMIT}",
    ),
    "singular dense": (
        LOGISTIC,
        {"hypergradient": implicit("dense")},
        "/algorithm/hypergradient/solver",
        "`bias` false",
    ),
    "implicit without minimizer": (
        {**CLEANING, "l2": 0},
        {"hypergradient": implicit()},
        "/problem/l2",
        "above zero",
    ),
    "implicit heads without minimizer": (
        REPRESENTATION,
        {"hypergradient": implicit()},
        "/problem/l2",
        "above zero",
    ),
    "implicit learns no rate": (
        RIDGE,
        {"dynamics": {**GD, "learn_rate": True}, "hypergradient": implicit()},
        "/algorithm/dynamics/learn_rate",
        "`reverse` or `forward`",
    ),
    "exact learns no momentum": (
        RIDGE,
        {"dynamics": {"kind": "heavy_ball", "learn_momentum": True}, "hypergradient": {"kind": "exact"}},
        "/algorithm/dynamics/learn_momentum",
        "`reverse` or `forward`",
    ),
    "momentum learned from 0": (
        RIDGE,
        {"dynamics": {"kind": "nesterov", "momentum": 0, "learn_momentum": True}},
        "/algorithm/dynamics/momentum",
        "above 0",
    ),
    "minibatches of a quadratic": (
        {"kind": "quadratic"},
        {"dynamics": {**GD, "batch": 2}},
        "/algorithm/dynamics/batch",
        "leave `batch` out",
    ),
    "minibatches of both objectives of episodes": (
        {"kind": "hyper_representation"},
        {"kind": "saba"},
        "/algorithm/kind",
        "use `nested`",
    ),
    "minibatches of both objectives of a toy": ({"kind": "quadratic"}, {"kind": "f2sa"}, "/algorithm/kind", "nested"),
    "logistic with ten classes": (
        {"kind": "regularization", "dataset": {"kind": "digits"}, "loss": "logistic"},
        {},
        "/problem/loss",
        "use `cross_entropy`",
    ),
    "one strength a class of a network": (
        {"kind": "regularization", "model": {"kind": "mlp"}, "strength": "class"},
        {},
        "/problem/strength",
        "a class needs the model `linear`",
    ),
    "closed form of one strength a class": (
        {"kind": "regularization", "strength": "class"},
        {"hypergradient": {"kind": "exact"}},
        "/algorithm/hypergradient",
        "use `reverse`",
    ),
    "three sets of a class": (
        {"kind": "linear_representation", "test": 15},
        {},
        "/problem/test",
        "at most 14",
    ),
    "more characters than there are": (
        {"kind": "linear_representation", "dataset": {"kind": "omniglot", "rotations": False}, "classes": 324},
        {},
        "/problem/classes",
        "set `rotations`",
    ),
    "an identity that is not square": (
        {"kind": "linear_representation", "dimension": 64},
        {},
        "/problem/initial",
        "use `glorot`",
    ),
    "minibatches of a gram matrix": (
        {"kind": "linear_representation"},
        {"dynamics": {**GD, "batch": 2}},
        "/algorithm/dynamics/batch",
        "leave `batch` out",
    ),
    "minibatches of folds": (
        {**RIDGE, "folds": 5},
        {"kind": "soba"},
        "/problem/folds",
        "use the algorithm `nested`",
    ),
    "more folds than examples": (
        {**RIDGE, "train": 30, "validation": 20, "folds": 51},
        {},
        "/problem/folds",
        "50 examples",
    ),
    "singular quadratics": (
        {"kind": "random_quadratics", "inner_examples": 99},
        {},
        "/problem/inner_examples",
        "raise it to at least `inner_dimension`",
    ),
    "minibatches of two": (
        {"kind": "learned_data", "outer_batch": 7},
        {"kind": "soba"},
        "/problem/outer_batch",
        "set the algorithm's `batch`",
    ),
    "no direct term": (
        {"kind": "quadratic", "damping": 0},
        {"hypergradient": {"kind": "first_order"}},
        "/algorithm/hypergradient",
        "use `reverse`",
    ),
    "large minibatch": (CLEANING, {"dynamics": {**GD, "batch": 801}}, "/algorithm/dynamics/batch", "800"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_impossible_combinations_are_refused(name: str) -> None:
    problem, algorithm, pointer, remedy = REFUSED[name]
    with pytest.raises(ValidationError) as caught:
        Experiment.model_validate({"problem": problem, "algorithm": algorithm})
    (error,) = caught.value.errors()
    assert error["type"] == "impossible"
    assert error["ctx"]["pointer"] == pointer
    assert remedy in error["msg"]


def test_more_ways_than_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Omniglot, "class_counts", lambda self: (1200, 7, 323))
    spec = {"problem": {**REPRESENTATION, "way": 8}}
    with pytest.raises(ValidationError, match="the smallest meta-set has 7 classes: lower `way`") as caught:
        Experiment.model_validate(spec)
    assert caught.value.errors()[0]["ctx"]["pointer"] == "/problem/way"
    assert Experiment.model_validate({"problem": {**REPRESENTATION, "way": 7}}).problem.kind == "hyper_representation"


@pytest.mark.parametrize(
    ("problem", "algorithm"),
    [
        (RIDGE, {"hypergradient": {"kind": "exact"}}),
        ({**LOGISTIC, "loss": "squared"}, {"hypergradient": {"kind": "exact"}}),
        ({**LOGISTIC, "model": {"kind": "linear", "bias": False}}, {"hypergradient": implicit("dense")}),
        ({**LOGISTIC, "loss": "squared"}, {"hypergradient": implicit("dense")}),
        (CLEANING, {"hypergradient": implicit("dense")}),
        ({**CLEANING, "corruption": 0}, {}),
        ({**CLEANING, "dataset": {"kind": "mnist"}, "train": 30_000, "validation": 30_000}, {}),
        ({**REPRESENTATION, "l2": 0.1}, {"hypergradient": implicit()}),
        ({**REPRESENTATION, "shot": 5, "query": 15}, {}),
        (CLEANING, {"dynamics": {**GD, "batch": 800}}),
        ({"kind": "quadratic"}, {"steps": 5, "hypergradient": {"kind": "reverse", "segment": 5}}),
        ({"kind": "quadratic"}, {"steps": 5, "hypergradient": {"kind": "reverse", "truncate": 5}}),
    ],
)
def test_possible_combinations_at_the_border(problem: dict[str, Any], algorithm: dict[str, Any]) -> None:
    assert Experiment.model_validate({"problem": problem, "algorithm": algorithm})
