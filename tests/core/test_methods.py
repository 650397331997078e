"""Which experiments are replayed from a CUDA graph as whole hyperiterations, and that these are what they were."""

from pathlib import Path
from typing import Any

import pytest
import torch

from core.bilevel import trees
from core.bilevel.algorithms import joint_from_graphs, nested_from_graph
from core.bilevel.problem import Algorithm, AlgorithmState
from core.build import build, build_instance, make_context
from core.inner import build_inner
from core.methods import same_method
from core.outer import build_optimizer
from core.spec import Experiment, algorithms
from core.spec.shortcuts import replays
from tests.core.bilevel.test_graphs import Tape
from tests.core.small import described as described_as
from tests.core.small import difference, kinds

CUDA = torch.cuda.is_available()
PROBLEM: dict[str, Any] = {
    "kind": "hyper_representation",
    "model": {"kind": "conv4", "filters": 4, "norm_scale": False},
    "way": 3,
    "shot": 2,
    "query": 2,
    "meta_batch": 3,
}
METHODS: dict[str, dict[str, Any]] = {
    "dual walk": {"kind": "reverse"},
    "segments": {"kind": "reverse", "segment": 2},
    "snapshots": {"kind": "reverse", "snapshots": 2},
    "truncated": {"kind": "reverse", "truncate": 2},
    "unrolled": {"kind": "unrolled"},
    "first order": {"kind": "first_order"},
}
DYNAMICS: dict[str, dict[str, Any]] = {
    "gradient descent": {"kind": "gradient_descent", "rate": 0.1},
    "learned rates": {"kind": "gradient_descent", "rate": 0.1, "learn_rate": True, "rate_per_step": True},
    "momentum": {"kind": "heavy_ball", "rate": 0.1, "learn_rate": True, "learn_momentum": True},
    "learned momenta": {"kind": "nesterov", "rate": 0.1, "learn_momentum": True, "momentum_per_step": True},
    "heavy ball": {"kind": "heavy_ball", "rate": 0.1},
    "nesterov": {"kind": "nesterov", "rate": 0.1},
    "adam": {"kind": "adam", "rate": 0.05, "epsilon": 1e-2},
    "adamw": {"kind": "adamw", "rate": 0.05, "epsilon": 1e-2},
    "rmsprop": {"kind": "rmsprop", "rate": 0.05, "epsilon": 1e-2},
}
STEADY = {name: each for name, each in DYNAMICS.items() if not any("learn" in key for key in each)}
SHAPES: dict[str, dict[str, Any]] = {
    "in chunks": {"task_chunk": 2},
    "cross-fitted": {"cross_fitting": True, "centred": True},
    "on the support set": {"outer_set": "support"},
    "of a few tasks": {"tasks": 5},
    "ridge": {"heads": {"kind": "ridge"}},
    "prototypes": {"heads": {"kind": "prototypes"}},
    "l2": {"l2": 0.1},
}


def described(method: str = "dual walk", dynamics: str = "gradient descent", **shape: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "problem": {**PROBLEM, **shape},
            "algorithm": {
                "steps": 4,
                "hypergradient": METHODS[method],
                "dynamics": DYNAMICS[dynamics],
                "optimizer": {"kind": "adam", "cosine": True, "clip": 0.5},
                "hyperiterations": 5,
            },
            "resources": {"precision": "float64"},
        }
    )


def from_graph(spec: Experiment, data_dir: Path) -> tuple[Algorithm, AlgorithmState]:
    """With a CUDA graph where there is a device for it; else with what stands for one."""
    if CUDA:
        instance, algorithm = build(spec, device="cuda", data_dir=data_dir)
        return algorithm, algorithm.init(instance.initial)
    assert isinstance(spec.algorithm, algorithms.Nested | algorithms.Joint)
    context, inner = make_context(spec, device="cpu", data_dir=data_dir), build_inner(spec.algorithm)
    instance = build_instance(spec.problem, inner, context)
    optimizer, project = build_optimizer(spec.algorithm.optimizer, spec.algorithm.hyperiterations), instance.project
    if isinstance(spec.algorithm, algorithms.Joint):
        interval = spec.algorithm.interval
        algorithm = joint_from_graphs(instance.at, optimizer, project, interval=interval, capture=Tape())
    else:
        method, steps = same_method(spec, inner, context), spec.algorithm.steps
        algorithm = nested_from_graph(instance.at, method, optimizer, project, steps=steps, capture=Tape())
    return algorithm, algorithm.init(instance.initial)


def check(spec: Experiment, data_dir: Path) -> None:
    """Five hyperiterations from a graph, on other tasks each or in turn, are those of the CPU, series included."""
    assert replays(spec)
    instance, plain = build(spec, device="cpu", data_dir=data_dir)
    expected = plain.init(instance.initial)
    algorithm, state = from_graph(spec, data_dir)
    for k in range(5):
        expected, known = plain.step(k, expected)
        state, series = algorithm.step(k, state)
        for name in known:
            torch.testing.assert_close(series[name].cpu(), known[name], rtol=1e-8, atol=1e-12, check_dtype=False)
    moved, wanted = (trees.subtract(each, instance.initial) for each in (_on_cpu(state.lam), expected.lam))
    assert difference(moved, wanted) < 1e-6  # of what moved: Adam divides by what may be small


def _on_cpu(tree: Any) -> Any:
    return trees.map_leaves(lambda leaf: leaf.cpu(), tree)


@pytest.mark.parametrize("dynamics", DYNAMICS)
@pytest.mark.parametrize("method", METHODS)
def test_replayed_hyperiterations_are_those_of_the_cpu(method: str, dynamics: str, synthetic_omniglot: Path) -> None:
    if method == "first order" and dynamics not in STEADY:
        pytest.skip("refused")
    check(described(method, dynamics), synthetic_omniglot)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", ["dual walk", "unrolled", "first order"])
def test_whatever_the_tasks_and_heads(method: str, shape: str, synthetic_omniglot: Path) -> None:
    if method == "first order" and shape == "ridge":
        pytest.skip("refused")
    check(described(method, **SHAPES[shape]), synthetic_omniglot)


@pytest.mark.parametrize("dynamics", STEADY)
@pytest.mark.parametrize("shape", [{}, {"l2": 0.1}, {"training_shot": 4}], ids=["plain", "l2", "more shots"])
def test_joint_minimization_has_a_graph_for_each_step_on_a_meta_batch(
    dynamics: str, shape: dict[str, Any], synthetic_omniglot: Path
) -> None:
    plain = described("dual walk", dynamics, outer_set="support", **shape).model_dump(mode="json")
    chosen = plain["algorithm"]
    algorithm = {"kind": "joint", "interval": 2, **{name: chosen[name] for name in ("steps", "dynamics", "optimizer")}}
    check(Experiment.model_validate({**plain, "algorithm": algorithm}), synthetic_omniglot)


@pytest.mark.parametrize("method", ["exact", "reverse", "first_order"])
def test_a_classifier_of_all_classes(method: str, synthetic_omniglot: Path) -> None:
    plain = described().model_dump(mode="json")
    problem = {name: PROBLEM[name] for name in ("model", "way", "shot", "query")}
    check(
        Experiment.model_validate(
            {
                **plain,
                "problem": {"kind": "multiclass_transfer", "batch": 6, **problem},
                "algorithm": {**plain["algorithm"], "hypergradient": {"kind": method}},
            }
        ),
        synthetic_omniglot,
    )


def test_long_turns_are_not_captured() -> None:
    plain = described(outer_set="support").model_dump(mode="json")
    for interval, captured in ((16, True), (17, False)):
        spec = Experiment.model_validate({**plain, "algorithm": {"kind": "joint", "interval": interval}})
        assert replays(spec) == captured


@pytest.mark.parametrize("kind", kinds("hypergradient"))
def test_what_may_wait_for_the_device_is_not_captured(kind: str) -> None:
    spec = described_as("hyper_representation", kind, "gradient_descent", steps=4)
    assert spec is None or replays(spec) == (kind in ("reverse", "unrolled", "first_order"))
    searching = described_as("hyper_representation", kind, "line_search", steps=4)
    assert searching is None or not replays(searching)


def test_neither_is_what_is_measured_now_and_then_nor_what_differs_in_size() -> None:
    plain = described()
    measured = plain.model_copy(
        update={"diagnostics": plain.diagnostics.model_validate({"stationarity": {"every": 2}})}
    )
    ragged = described(way_from=2)
    for spec in (measured, ragged):
        assert not replays(spec)
    assert replays(plain)
