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
