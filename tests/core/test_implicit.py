"""Implicit differentiation as specs describe it: series, warm starts that resume to the bit, what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from core.bilevel import linear_solve, trees
from core.bilevel.hypergradients import implicit
from core.build import build
from core.checkpointing import MemoryCheckpoints
from core.recording import MemoryRecorder
from core.run import Finished, run
from core.spec import Experiment

REGULARIZATION = {"kind": "regularization", "train": 60, "validation": 40, "strength": "feature"}
SOFTMAX = {**REGULARIZATION, "dataset": {"kind": "wine"}, "initial_strength": 0.1}
CLEANING = {"kind": "hyper_cleaning", "train": 60, "validation": 40, "final_steps": 5, "l2": 0.1}


def described(
    problem: dict[str, Any], method: dict[str, Any], *, precision: str = "float64", **algorithm: Any
) -> Experiment:
    return Experiment.model_validate(
        {
            "problem": problem,
            "algorithm": {
                "steps": 60,
                "dynamics": {"kind": "gradient_descent", "rate": 0.2},
                "hypergradient": {"kind": "implicit", **method},
                "hyperiterations": 4,
                **algorithm,
            },
            "evaluation": {"every": 4},
            "resources": {"precision": precision},
        }
    )


def first_gradient(spec: Experiment) -> tuple[Any, Any]:
    """lam_1 - lam_0 of plain gradient descent, which is the hypergradient, and the series."""
    optimizer = {"kind": "sgd", "rate": 1.0}
    changed = spec.canonical()
    changed["algorithm"]["optimizer"] = optimizer
    instance, algorithm = build(Experiment.model_validate(changed), device="cpu", data_dir=Path())
    state, series = algorithm.step(0, algorithm.init(instance.initial))
    return trees.subtract(instance.initial, state.lam), series


@pytest.mark.parametrize("problem", [REGULARIZATION, SOFTMAX, CLEANING], ids=["squared", "softmax", "cleaning"])
def test_every_way_of_conjugate_gradient_finds_the_same(problem: dict[str, Any]) -> None:
    tight = {"kind": "cg", "tolerance": 1e-11, "iterations": 2000}
    if problem is CLEANING:
        problem = {**problem, "weights": {"kind": "sigmoid"}}
    expected, plain = first_gradient(described(problem, {"solver": {**tight, "preconditioner": "none"}}))
    for more in ({}, {"mixed_precision": True}, {"kind": "cg_normal"}):
        found, series = first_gradient(described(problem, {"solver": {**tight, **more}}))
        assert trees.norm(trees.subtract(found, expected)) <= 1e-7 * trees.norm(expected)
        if not more:
            assert series["solver_iterations"] < plain["solver_iterations"]


def test_without_preconditioner_it_is_the_plain_method_to_the_bit() -> None:
    spec = described(SOFTMAX, {"solver": {"kind": "cg", "preconditioner": "none"}})
    instance, algorithm = build(spec, device="cpu", data_dir=Path())
    _, series = algorithm.step(0, algorithm.init(instance.initial))
    found = implicit(*instance.at(0), instance.initial, steps=60, solve=linear_solve.cg)
    assert torch.equal(series["hypergradient_norm"], trees.norm(found.grad))


WAYS: dict[str, dict[str, Any]] = {
    "system": {"warm_start": True},
    "inner": {"warm_start_inner": True},
    "hoag": {
        "warm_start": True,
        "warm_start_inner": True,
        "schedule": {"kind": "exponential", "initial": 0.1, "decay": 0.5},
        "stop_inner": True,
    },
    "polynomial": {"schedule": {"kind": "polynomial"}, "solver": {"kind": "fixed_point"}, "warm_start": True},
    "normal": {"solver": {"kind": "cg_normal"}, "warm_start": True, "damping": 0.1},
    "neumann": {"solver": {"kind": "neumann", "iterations": 5}, "warm_start": True, "warm_start_inner": True},
    "stochastic": {"solver": {"kind": "stochastic", "iterations": 10}, "warm_start": True},
}


@pytest.mark.parametrize("name", WAYS)
def test_resumed_after_any_hyperiteration_it_is_the_same_to_the_bit(name: str) -> None:
    dynamics = {"kind": "heavy_ball", "rate": 0.05, "batch": 20} if name == "stochastic" else {"kind": "heavy_ball"}
    spec = described(REGULARIZATION, WAYS[name], precision="float32", dynamics={"rate": 0.05, **dynamics}, steps=30)

    def go(checkpoints: MemoryCheckpoints) -> tuple[dict[str, Any], dict[str, dict[int, float]]]:
        recorder = MemoryRecorder()
        finished = run(
            spec, device="cpu", data_dir=Path(), recorder=recorder, checkpoints=checkpoints, checkpoint_seconds=0
        )
        assert isinstance(finished, Finished)
        return finished.result["final"], {key: curve for key, curve in recorder.curves.items() if key != "seconds"}

    whole = MemoryCheckpoints()
    final, curves = go(whole)
    assert curves["solver_residual"].keys() == curves["solver_iterations"].keys() == set(range(4))
    for checkpoint in list(whole.saved):
        again = MemoryCheckpoints()
        again.save(checkpoint)
        rest_final, rest = go(again)
        assert rest_final == final
        for key, curve in rest.items():
            assert curve == {k: value for k, value in curves[key].items() if k >= checkpoint.hyperiteration}


def test_a_schedule_loosens_the_solver_and_never_tightens_it() -> None:
    schedule = {"kind": "exponential", "initial": 0.1, "decay": 0.01}
    solver = {"kind": "cg", "tolerance": 1e-3, "preconditioner": "none"}
    instance, algorithm = build(
        described(SOFTMAX, {"solver": solver, "schedule": schedule}), device="cpu", data_dir=Path()
    )
    state = algorithm.init(instance.initial)
    residuals = [float(algorithm.step(k, state)[1]["solver_residual"]) for k in range(4)]
    assert 1e-3 < residuals[0] <= 0.1
    assert 1e-5 < residuals[1] <= 1e-3  # 0.1 * 0.01
    assert residuals[1] == residuals[2] == residuals[3]


def test_stochastic_hypergradients_differ_from_one_hyperiteration_to_the_next_and_near_the_full_one() -> None:
    strong = {**REGULARIZATION, "initial_strength": 0.3}
    dynamics = {"kind": "gradient_descent", "rate": 0.1, "batch": 30}
    solver = {"kind": "stochastic", "iterations": 400, "rate": 0.1}
    full, _ = first_gradient(described(strong, {"solver": {"kind": "cg"}}, dynamics=dynamics))
    found, series = first_gradient(described(strong, {"solver": solver}, dynamics=dynamics))
    assert trees.norm(trees.subtract(found, full)) < 0.3 * trees.norm(full)
    assert series["solver_iterations"] == 401
    instance, algorithm = build(described(strong, {"solver": solver}, dynamics=dynamics), device="cpu", data_dir=Path())
    start = algorithm.init(instance.initial)
    norms = [float(algorithm.step(k, start)[1]["hypergradient_norm"]) for k in (0, 1, 0)]
    assert norms[0] == norms[2] != norms[1]


MLP = {**REGULARIZATION, "strength": "layer", "model": {"kind": "mlp", "hidden": [3]}}
HEADS = {"kind": "hyper_representation", "l2": 0.1}
WITHOUT_MINIBATCHES: list[dict[str, Any]] = [{"kind": "quadratic"}, {"kind": "random_quadratics"}, HEADS]


@pytest.mark.parametrize(
    ("problem", "method", "field", "remedy"),
    [
        (HEADS, {"warm_start": True}, "warm_start", "leave `warm_start` out"),
        (HEADS, {"warm_start_inner": True}, "warm_start_inner", "leave `warm_start_inner` out"),
        (REGULARIZATION, {"warm_start": True, "solver": {"kind": "dense"}}, "warm_start", "use `cg`"),
        (REGULARIZATION, {"schedule": {"kind": "exponential"}, "solver": {"kind": "neumann"}}, "schedule", "use `cg`"),
        (REGULARIZATION, {"schedule": {"kind": "polynomial"}, "solver": {"kind": "dense"}}, "schedule", "use `cg`"),
        (REGULARIZATION, {"stop_inner": True}, "stop_inner", "give one"),
        (REGULARIZATION, {"solver": {"kind": "stochastic"}}, "solver", "give `batch`"),
        *((problem, {"solver": {"kind": "stochastic"}}, "solver", "use `cg`") for problem in WITHOUT_MINIBATCHES),
        (MLP, {"solver": {"kind": "cg", "mixed_precision": True}}, "solver/mixed_precision", "linear models"),
        (
            REGULARIZATION,
            {"solver": {"kind": "cg", "mixed_precision": True, "preconditioner": "none"}},
            "solver/preconditioner",
            "leave `preconditioner` or",
        ),
        ({**SOFTMAX}, {"solver": {"kind": "dense"}}, "solver", "or `damping` above 0"),
    ],
)
def test_what_cannot_be_is_refused_with_the_field_and_the_remedy(
    problem: dict[str, Any], method: dict[str, Any], field: str, remedy: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        described(problem, method, precision="float32")
    (error,) = caught.value.errors()
    assert error["ctx"]["pointer"] == f"/algorithm/hypergradient/{field}"
    assert remedy in error["msg"]


@pytest.mark.parametrize("problem", WITHOUT_MINIBATCHES)
def test_no_batch_is_asked_for_where_none_would_be_taken(problem: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        described(problem, {"solver": {"kind": "stochastic"}}, precision="float32")
    assert "`batch`" not in str(caught.value)
    with pytest.raises(ValidationError, match="leave `batch` out"):
        described(problem, {}, precision="float32", dynamics={"kind": "gradient_descent", "rate": 0.2, "batch": 5})


def test_damping_lets_a_singular_hessian_be_factored() -> None:
    found, series = first_gradient(described(SOFTMAX, {"solver": {"kind": "dense"}, "damping": 0.01}))
    expected, _ = first_gradient(described(SOFTMAX, {"solver": {"kind": "cg", "tolerance": 1e-12}, "damping": 0.01}))
    assert trees.norm(trees.subtract(found, expected)) <= 1e-8 * trees.norm(expected)
    assert series["solver_residual"] < 1e-10
