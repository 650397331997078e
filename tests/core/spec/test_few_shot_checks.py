from typing import Any

import pytest
from pydantic import ValidationError

from core.spec import Experiment

FEW_SHOT: dict[str, Any] = {"kind": "hyper_representation", "meta_batch": 4}


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


@pytest.mark.parametrize("hypergradient", ["reverse", "unrolled"])
def test_chunks_that_can_be(hypergradient: str) -> None:
    spec = {"problem": {**FEW_SHOT, "task_chunk": 4}, "algorithm": {"hypergradient": {"kind": hypergradient}}}
    assert Experiment.model_validate(spec).sha256() != Experiment.model_validate({"problem": FEW_SHOT}).sha256()


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


def test_a_data_set_that_does_not_say_which_is_omniglot() -> None:
    spec = Experiment.model_validate({"problem": {"kind": "hyper_representation", "dataset": {"split": "vinyals"}}})
    assert spec.canonical()["problem"]["dataset"]["kind"] == "omniglot"
