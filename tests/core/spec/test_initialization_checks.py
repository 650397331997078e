from typing import Any

import pytest
from pydantic import ValidationError

from core.spec import Experiment
from core.spec.sizes import inner_variables, outer_variables

SMALL: dict[str, Any] = {
    "kind": "initialization",
    "model": {"kind": "mlp", "hidden": [2]},
    "way": 3,
    "meta_batch": 4,
}
RATES = {"kind": "gradient_descent", "learn_rate": True, "rate_per_parameter": True}
NETWORK, HEAD = 784 * 2 + 2, 3 * 3


@pytest.mark.parametrize(
    ("problem", "algorithm", "pointer", "remedy"),
    [
        ({}, {"hypergradient": {"kind": "implicit"}}, "/problem/proximal", "give `proximal` above zero"),
        ({"adapt": "head"}, {"hypergradient": {"kind": "reptile"}}, "/problem/adapt", "use `all`"),
        (
            {},
            {"hypergradient": {"kind": "reptile"}, "dynamics": {"kind": "heavy_ball", "learn_rate": True}},
            "/algorithm/dynamics",
            "use `reverse`",
        ),
        (
            {},
            {"hypergradient": {"kind": "first_order"}, "dynamics": RATES},
            "/algorithm/dynamics/learn_rate",
            "use `reverse`",
        ),
        ({}, {"dynamics": {**RATES, "learn_rate": False}}, "/algorithm/dynamics/rate_per_parameter", "`learn_rate`"),
        ({}, {"dynamics": {**RATES, "rate_per_step": True}}, "/algorithm/dynamics/rate_per_parameter", "one of a step"),
        ({}, {"kind": "real_time"}, "/algorithm/kind", "use `nested`"),
        ({}, {"dynamics": {"kind": "gradient_descent", "batch": 2}}, "/algorithm/dynamics/batch", "leave `batch` out"),
        ({"way": 99, "dataset": {"split": "paper"}, "query": 25}, {}, "/problem/query", "lower `query`"),
        ({"task_chunk": 5}, {}, "/problem/task_chunk", "lower `task_chunk`"),
        ({"task_chunk": 2}, {"hypergradient": {"kind": "forward"}}, "/problem/task_chunk", "or use `reverse`"),
        (
            {"proximal": 1.0},
            {"hypergradient": {"kind": "implicit", "warm_start": True}},
            "/algorithm/hypergradient/warm_start",
            "leave `warm_start` out",
        ),
    ],
)
def test_what_cannot_be(problem: dict[str, Any], algorithm: dict[str, Any], pointer: str, remedy: str) -> None:
    refused({**SMALL, **problem}, algorithm, pointer, remedy)


@pytest.mark.parametrize("kind", ["quadratic", "regularization", "hyper_cleaning", "hyper_representation"])
def test_elsewhere_there_is_no_reptile_and_no_rate_a_parameter(kind: str) -> None:
    problem = {"kind": kind}
    refused(problem, {"hypergradient": {"kind": "reptile"}}, "/algorithm/hypergradient", "use `reverse`")
    refused(problem, {"dynamics": RATES}, "/algorithm/dynamics/rate_per_parameter", "leave it out")


def refused(problem: dict[str, Any], algorithm: dict[str, Any], pointer: str, remedy: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Experiment.model_validate({"problem": problem, "algorithm": algorithm})
    (error,) = caught.value.errors()
    assert error["ctx"]["pointer"] == pointer
    assert remedy in error["msg"]


def test_a_search_goes_with_methods_that_do_not_differentiate_it() -> None:
    for method in ("reptile", "first_order"):
        algorithm = {"dynamics": {"kind": "line_search"}, "hypergradient": {"kind": method}}
        assert Experiment.model_validate({"problem": SMALL, "algorithm": algorithm})


@pytest.mark.parametrize(
    ("problem", "dynamics", "inner", "outer"),
    [
        ({}, {}, 4 * (NETWORK + HEAD), NETWORK + HEAD),
        ({"head_start": "zero"}, {}, 4 * (NETWORK + HEAD), NETWORK),
        ({"adapt": "head"}, {}, 4 * HEAD, NETWORK + HEAD),
        ({"adapt": "head", "head_start": "zero"}, {"learn_rate": True}, 4 * HEAD, NETWORK + 1),
        ({}, RATES, 4 * (NETWORK + HEAD), 2 * (NETWORK + HEAD)),
        ({"adapt": "head"}, RATES, 4 * HEAD, NETWORK + 2 * HEAD),
    ],
)
def test_sizes(problem: dict[str, Any], dynamics: dict[str, Any], inner: int, outer: int) -> None:
    spec = Experiment.model_validate(
        {"problem": {**SMALL, **problem}, "algorithm": {"dynamics": {"kind": "gradient_descent", **dynamics}}}
    )
    assert inner_variables(spec.problem) == inner
    assert outer_variables(spec.problem, spec.algorithm) == outer
