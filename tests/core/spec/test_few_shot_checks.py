from typing import Any

import pytest
from pydantic import ValidationError

from core.spec import Experiment

FEW_SHOT: dict[str, Any] = {"kind": "hyper_representation", "meta_batch": 4}
TRANSFER: dict[str, Any] = {"kind": "multiclass_transfer"}
RIDGE = {"kind": "ridge"}
EXACT: dict[str, Any] = {"hypergradient": {"kind": "exact"}}
APPROX: dict[str, Any] = {"hypergradient": {"kind": "first_order"}}
JOINT: dict[str, Any] = {"kind": "joint"}
LEARNED, RATES = "/algorithm/dynamics/learn_momentum", "/algorithm/dynamics/rate_per_step"


def refused(**spec: Any) -> dict[str, Any]:
    with pytest.raises(ValidationError) as caught:
        Experiment.model_validate(spec)
    (error,) = caught.value.errors()
    assert error["type"] == "impossible"
    return {"pointer": error["ctx"]["pointer"], "message": error["msg"]}


@pytest.mark.parametrize(
    ("problem", "hypergradient", "remedy"),
    [
        ({"task_chunk": 5}, "reverse", "lower `task_chunk`"),
        ({"task_chunk": 2, "l2": 0.1}, "implicit", "leave `task_chunk` out"),
        ({"task_chunk": 2, "model": {"kind": "mlp", "hidden": [2]}}, "forward", "or use `reverse`"),
        ({"task_chunk": 2}, "random_forward", "or use `reverse`"),
    ],
)
def test_chunks_that_cannot_be(problem: dict[str, Any], hypergradient: str, remedy: str) -> None:
    found = refused(problem={**FEW_SHOT, **problem}, algorithm={"hypergradient": {"kind": hypergradient}})
    assert found["pointer"] == "/problem/task_chunk"
    assert remedy in found["message"]


@pytest.mark.parametrize("hypergradient", ["reverse", "unrolled", "exact"])
def test_chunks_that_can_be(hypergradient: str) -> None:
    problem = FEW_SHOT | ({"heads": RIDGE} if hypergradient == "exact" else {})
    spec = {"problem": {**problem, "task_chunk": 4}, "algorithm": {"hypergradient": {"kind": hypergradient}}}
    assert Experiment.model_validate(spec).sha256() != Experiment.model_validate({"problem": problem}).sha256()


SUPPORT = FEW_SHOT | {"outer_set": "support"}
MINI = {"kind": "mini_imagenet"}
PER_PARAMETER = {"kind": "gradient_descent", "rate_per_parameter": True}
FEW_QUERIES = {"cross_fitting": True, "training_shot": 2, "training_query": 1}
ALPHABETS = {"kind": "omniglot", "split": "alphabets"}


@pytest.mark.parametrize(
    ("problem", "algorithm", "pointer", "remedy"),
    [
        (FEW_SHOT, EXACT, "/algorithm/hypergradient", "use the heads `ridge` or `prototypes`"),
        (FEW_SHOT, {"kind": "real_time"}, "/algorithm/kind", "use `nested`"),
        (FEW_SHOT | {"shot": 20, "query": 1}, {}, "/problem/shot", "lower `shot` to at most 19"),
        (FEW_SHOT | {"dataset": ALPHABETS, "way": 20}, {}, "/problem/way", "or give `way_from`, with which it may be"),
        (FEW_SHOT | {"heads": RIDGE}, APPROX, "/algorithm/hypergradient", "use `exact` or `reverse`"),
        (FEW_SHOT | {"heads": RIDGE, "l2": 0.1}, {}, "/problem/l2", "leave `l2` out"),
        (FEW_SHOT | {"heads": {"kind": "prototypes"}, "l2": 0.1}, EXACT, "/problem/l2", "leave `l2` out"),
        (FEW_SHOT | {"training_shot": 6}, {}, "/problem/training_shot", "lower `training_shot` to at most 5"),
        (SUPPORT | {"training_shot": 21}, {}, "/problem/training_shot", "at most 20"),
        (FEW_SHOT | {"training_query": 20}, {}, "/problem/training_query", "lower `training_query` to at most 19"),
        (SUPPORT | {"training_query": 2}, {}, "/problem/training_query", "leave it out"),
        (FEW_SHOT | {"dataset": ALPHABETS, "training_way": 40}, {}, "/problem/training_way", "lower `training_way`"),
        (FEW_SHOT | {"dataset": MINI, "training_way": 65}, {}, "/problem/training_way", "meta-training has 64 classes"),
        (FEW_SHOT | {"way_from": 3, "training_way": 7}, {}, "/problem/training_way", "leave one of both out"),
        (SUPPORT | {"cross_fitting": True}, {}, "/problem/cross_fitting", "leave one of both out"),
        (FEW_SHOT | {"cross_fitting": True, "way_from": 3}, {}, "/problem/cross_fitting", "leave it or `way_from` out"),
        (FEW_SHOT | {"cross_fitting": True, "shot": 2}, {}, "/problem/query", "a multiple of it, such as 14"),
        (FEW_SHOT | FEW_QUERIES, {}, "/problem/training_query", "as the support set has, 2: make"),
        ({"kind": "quadratic"}, JOINT, "/algorithm/kind", "or the problem `hyper_representation`"),
        (TRANSFER, JOINT, "/algorithm/kind", "use `nested`"),
        (FEW_SHOT, JOINT, "/problem/outer_set", "set it to `support`"),
        (SUPPORT | {"heads": RIDGE}, JOINT, "/problem/heads", "no strength would be best"),
        (SUPPORT | {"heads": {"kind": "prototypes"}}, JOINT, "/problem/heads", "all alike would be best"),
        (SUPPORT | {"task_chunk": 2}, JOINT, "/problem/task_chunk", "`joint` takes the meta-batch as a whole"),
        (SUPPORT, JOINT | {"dynamics": {"kind": "heavy_ball", "learn_momentum": True}}, LEARNED, "leave it out"),
        (SUPPORT, JOINT | {"dynamics": {"kind": "heavy_ball", "batch": 3}}, "/algorithm/dynamics/batch", "leave"),
        (SUPPORT, JOINT | {"dynamics": {"kind": "adam", "rate_per_step": True}}, RATES, "leave it out"),
        (SUPPORT, JOINT | {"dynamics": PER_PARAMETER}, "/algorithm/dynamics/rate_per_parameter", "leave it out"),
        (TRANSFER, {"hypergradient": {"kind": "implicit"}}, "/algorithm/hypergradient", "use `exact`"),
        (TRANSFER, {"hypergradient": {"kind": "random_forward"}}, "/algorithm/hypergradient", "use `exact`"),
        (TRANSFER, {"kind": "real_time"}, "/algorithm/kind", "use `nested`"),
        (TRANSFER, {"kind": "soba"}, "/algorithm/kind", "use `nested`"),
        (TRANSFER, {"dynamics": {"kind": "heavy_ball", "learn_momentum": True}}, LEARNED, "leave it out"),
        (TRANSFER | {"shot": 6}, {}, "/problem/query", "lower `query` to at most 14"),
    ],
)
def test_variants_that_cannot_be(problem: dict[str, Any], algorithm: dict[str, Any], pointer: str, remedy: str) -> None:
    found = refused(problem=problem, algorithm=algorithm)
    assert found["pointer"] == pointer
    assert remedy in found["message"]


def test_meta_training_has_more_classes_than_evaluations() -> None:
    """Twenty ways of miniImageNet's 64 classes, though meta-validation has 16 in all."""
    Experiment.model_validate({"problem": FEW_SHOT | {"dataset": MINI, "training_way": 20}})


@pytest.mark.parametrize(
    ("problem", "algorithm", "section"),
    [
        (SUPPORT, JOINT, "direction"),
        (SUPPORT, JOINT, "stationarity"),
        (TRANSFER, {}, "stationarity"),
        (TRANSFER, {}, "truncation"),
        (TRANSFER, {}, "contraction"),
    ],
)
def test_what_there_is_not_is_not_measured(problem: dict[str, Any], algorithm: dict[str, Any], section: str) -> None:
    found = refused(problem=problem, algorithm=algorithm, diagnostics={section: {"every": 1}})
    assert found["pointer"] == f"/diagnostics/{section}/every"
    assert "leave `every` out" in found["message"]


def test_defaults_of_the_new_fields_leave_hashes_as_they_were() -> None:
    # Hashes of version 0.1 and of what came after it.
    written = FEW_SHOT | {"heads": {"kind": "softmax"}, "outer_set": "query", "training_shot": None}
    plain = Experiment.model_validate({"problem": FEW_SHOT})
    assert Experiment.model_validate({"problem": written}).sha256() == plain.sha256()
    assert Experiment.model_validate(
        {"problem": {"kind": "hyper_representation"}, "evaluation": {"every": 100}}
    ).sha256() == ("3cc2617aaf04add4bbb300e0facbdb0f106f063e69c92b781ee069beae21356c")


@pytest.mark.parametrize("kind", ["quadratic", "regularization", "hyper_cleaning"])
def test_bf16_is_for_representations(kind: str) -> None:
    found = refused(problem={"kind": kind}, resources={"precision": "bf16"})
    assert found["pointer"] == "/resources/precision"
    assert "use `float32`" in found["message"]
    assert Experiment.model_validate({"problem": FEW_SHOT, "resources": {"precision": "bf16"}})


def test_tf32_is_for_float32() -> None:
    found = refused(problem=FEW_SHOT, resources={"precision": "float64", "tf32": True})
    assert found["pointer"] == "/resources/tf32"
    assert Experiment.model_validate({"problem": FEW_SHOT, "resources": {"tf32": True, "deterministic": True}})


@pytest.mark.parametrize(
    ("problem", "pointer", "message"),
    [
        ({"dataset": {"kind": "mini_imagenet"}, "way": 17}, "/problem/way", "the smallest meta-set has 16 classes"),
        ({"dataset": {"split": "alphabets"}, "way": 15}, "/problem/way", "the smallest alphabet has 14 classes"),
        ({"way_from": 6}, "/problem/way_from", "above `way`, the most classes of a task, 5"),
        (
            {"dataset": {"split": "alphabets"}, "way_from": 15, "way": 20},
            "/problem/way_from",
            "15 ways, but the smallest alphabet has 14 classes: lower `way_from`",
        ),
        (
            {"dataset": {"split": "alphabets"}, "way_from": 5, "way": 56},
            "/problem/way",
            "the largest alphabet has 55 classes: lower `way`",
        ),
        (
            {"dataset": {"kind": "mini_imagenet"}, "way_from": 17, "way": 20},
            "/problem/way_from",
            "the smallest meta-set has 16 classes",
        ),
    ],
)
def test_more_classes_than_there_are_to_draw_from(problem: dict[str, Any], pointer: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Experiment.model_validate({"problem": {"kind": "hyper_representation", **problem}})
    (error,) = caught.value.errors()
    assert error["ctx"]["pointer"] == pointer
    assert message in error["msg"]


@pytest.mark.parametrize(
    "problem",
    [
        {"dataset": {"kind": "mini_imagenet"}, "way": 16, "query": 100},
        {"dataset": {"split": "alphabets"}, "way": 14},
        {"dataset": {"split": "alphabets"}, "way_from": 14, "way": 55},
        {"way_from": 5},
    ],
)
def test_as_many_classes_as_there_are_to_draw_from(problem: dict[str, Any]) -> None:
    assert Experiment.model_validate({"problem": {"kind": "hyper_representation", **problem}})


@pytest.mark.parametrize("kind", ["multiclass_transfer", "initialization"])
def test_other_few_shot_problems_are_within_alphabets_too(kind: str) -> None:
    problem: dict[str, Any] = {"kind": kind, "dataset": {"split": "alphabets"}}
    assert Experiment.model_validate({"problem": problem | {"way": 14}})
    found = refused(problem=problem | {"way": 15})
    assert found["pointer"] == "/problem/way"
    assert "the smallest alphabet has 14 classes" in found["message"]
    assert Experiment.model_validate({"problem": {"kind": kind, "dataset": {"kind": "mini_imagenet"}, "way": 16}})


def test_characters_of_the_smallest_alphabets() -> None:
    """Of the ten of meta-test, which the seed draws."""
    dataset = {"split": "alphabets", "rotations": False}
    problem: dict[str, Any] = {"kind": "linear_representation", "dataset": dataset, "classes": 250}
    assert Experiment.model_validate({"problem": problem})
    found = refused(problem=problem | {"classes": 251})
    assert found["pointer"] == "/problem/classes"


@pytest.mark.parametrize("algorithm", [{}, JOINT])
def test_tasks_of_different_sizes_go_with_the_support_set_as_outer_set(algorithm: dict[str, Any]) -> None:
    problem = SUPPORT | {"way_from": 3, "training_shot": 16}
    assert Experiment.model_validate({"problem": problem, "algorithm": algorithm})


def test_a_data_set_that_does_not_say_which_is_omniglot() -> None:
    spec = Experiment.model_validate({"problem": {"kind": "hyper_representation", "dataset": {"split": "vinyals"}}})
    assert spec.canonical()["problem"]["dataset"]["kind"] == "omniglot"
