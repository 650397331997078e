"""Diagnostics of a spec: they change nothing, warn in the events, and are in the result wherever it was interrupted."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from core.bilevel import trees
from core.bilevel.problem import AlgorithmState
from core.build import build
from core.checkpointing import MemoryCheckpoints
from core.recording import MemoryRecorder
from core.run import Finished, run
from core.spec import Experiment

ALL: dict[str, Any] = {
    "stationarity": {"every": 1},
    "truncation": {"every": 2},
    "comparison": {"every": 3},
    "contraction": {"every": 2, "products": 5},
    "direction": {"every": 1},
}
SERIES = {
    "inner_gradient_relative",
    "truncation_error",
    "comparison_cosine",
    "comparison_error",
    "contraction_factor",
    "direction_cosine",
}
PROBLEMS: dict[str, dict[str, Any]] = {
    "quadratic": {"inner_dimension": 4, "outer_dimension": 2},
    "regularization": {"train": 30, "validation": 20, "strength": "feature"},
    "hyper_cleaning": {"train": 30, "validation": 20, "final_steps": 5, "l2": 0.1},
    "hyper_representation": {"model": {"kind": "conv4", "filters": 2}, "query": 2, "meta_batch": 2, "l2": 0.1},
}
METHODS: tuple[dict[str, Any], ...] = ({"kind": "reverse"}, {"kind": "implicit"})


def described(problem: str = "quadratic", diagnostics: dict[str, Any] | None = None, **algorithm: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "problem": {"kind": problem, **PROBLEMS[problem]},
            "algorithm": {"steps": 4, "hyperiterations": 5, "optimizer": {"kind": "adam", "rate": 0.1}, **algorithm},
            "evaluation": {"every": 5, "episodes": 2},
            "diagnostics": diagnostics or {},
        }
    )


@pytest.mark.parametrize("method", METHODS, ids=lambda method: str(method["kind"]))
@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_outer_variables_are_the_same_to_the_bit(
    problem: str, method: dict[str, Any], synthetic_omniglot: Path
) -> None:
    def go(diagnostics: dict[str, Any]) -> tuple[list[AlgorithmState], set[str], dict[str, torch.Tensor]]:
        spec = described(problem, diagnostics, hypergradient=method)
        instance, algorithm = build(spec, device="cpu", data_dir=synthetic_omniglot)
        state, states, names = algorithm.init(instance.initial), [], set()
        for k in range(4):
            state, values = algorithm.step(k, state)
            states.append(state)
            names |= values.keys()
        return states, names, dict(values)

    off, names_off, last_off = go({})
    on, names_on, last_on = go(ALL)
    for before, after in zip(off, on, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(trees.leaves(before.lam), trees.leaves(after.lam), strict=True))
    assert names_on - names_off == SERIES
    assert all(torch.equal(last_off[name], last_on[name]) for name in names_off)


def finished(spec: Experiment, data_dir: Path, checkpoints: MemoryCheckpoints) -> tuple[dict[str, Any], MemoryRecorder]:
    recorder = MemoryRecorder()
    outcome = run(
        spec, device="cpu", data_dir=data_dir, recorder=recorder, checkpoints=checkpoints, checkpoint_seconds=0.0
    )
    assert isinstance(outcome, Finished)
    return outcome.result, recorder


def test_thresholds_warn_and_the_result_counts(tmp_path: Path) -> None:
    result, recorder = finished(described(diagnostics=ALL), tmp_path, MemoryCheckpoints())
    (first, *rest) = [
        data for kind, data in recorder.events if kind == "warning" if data["series"] == "truncation_error"
    ]
    assert first["hyperiteration"] == 0
    assert first["message"].startswith("T too short: relative truncation error 0.")
    assert not rest  # it stays too short: one warning
    found = result["diagnostics"]
    assert found.keys() == SERIES | {"hypergradient_norm", "inner_gradient_norm"}
    assert found["truncation_error"]["warnings"] == 1
    assert found["truncation_error"]["worst"] == max(recorder.curves["truncation_error"].values())
    assert found["truncation_error"]["last"] == recorder.curves["truncation_error"][4]
    assert found["comparison_error"]["worst"] < 1e-2
    assert found["contraction_factor"]["warnings"] == 0
    (convergence,) = [entry for entry in result["assumptions"] if entry["name"] == "uniform convergence"]
    assert convergence["status"] == "by construction"


def test_measured_assumptions_have_the_values(tmp_path: Path) -> None:
    spec = described("regularization", {"contraction": {"every": 1}, "stationarity": {"every": 2}})
    result, recorder = finished(spec, tmp_path, MemoryCheckpoints())
    (convergence,) = [entry for entry in result["assumptions"] if entry["name"] == "uniform convergence"]
    assert convergence["status"] == "measured"
    assert convergence["worst"] == {
        name: max(recorder.curves[name].values()) for name in ("contraction_factor", "inner_gradient_relative")
    }


def test_a_rate_that_is_too_large_is_warned_about_before_it_diverges(tmp_path: Path) -> None:
    spec = described(diagnostics={"contraction": {"every": 1}}, dynamics={"kind": "gradient_descent", "rate": 2.06})
    _, recorder = finished(spec, tmp_path, MemoryCheckpoints())
    messages = [data["message"] for kind, data in recorder.events if kind == "warning"]
    assert messages == ["inner dynamics not contracting: factor 1.06 at w_T"]


def test_the_result_does_not_depend_on_where_it_was_interrupted(tmp_path: Path) -> None:
    spec = described(diagnostics=ALL)
    checkpoints = MemoryCheckpoints()
    whole, recorder = finished(spec, tmp_path, checkpoints)
    assert len(checkpoints.saved) > 3
    for checkpoint in checkpoints.saved:
        resumed_from = MemoryCheckpoints()
        resumed_from.save(checkpoint)
        again, rest = finished(spec, tmp_path, resumed_from)
        assert again["diagnostics"] == whole["diagnostics"]
        assert again["assumptions"] == whole["assumptions"]
        for name in SERIES:
            curve = recorder.curves[name]
            assert rest.curves.get(name, {}) == {k: curve[k] for k in curve if k >= checkpoint.hyperiteration}


def test_solver_residuals_are_warned_about_without_being_asked(tmp_path: Path) -> None:
    solver = {"kind": "cg", "iterations": 1}
    _, recorder = finished(
        described(hypergradient={"kind": "implicit", "solver": solver}), tmp_path, MemoryCheckpoints()
    )
    warnings = [data for kind, data in recorder.events if kind == "warning"]
    assert [warning["series"] for warning in warnings] == ["solver_residual"]
    assert math.isclose(warnings[0]["value"], recorder.curves["solver_residual"][0])


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "truncation of exact": (
        {"truncation": {"every": 1}},
        {"hypergradient": {"kind": "exact"}},
        "truncation/every",
        "`reverse`",
    ),
    "contraction of exact": (
        {"contraction": {"every": 1}},
        {"hypergradient": {"kind": "exact"}},
        "contraction/every",
        "`reverse`",
    ),
    "contraction of a line search": (
        {"contraction": {"every": 1}},
        {"hypergradient": {"kind": "implicit"}, "dynamics": {"kind": "line_search"}},
        "contraction/every",
        "`gradient_descent`",
    ),
    "half a step": ({"truncation": {"every": 1, "steps": "half"}}, {"steps": 1}, "truncation/steps", "`double`"),
    "another method that is not possible": (
        {"comparison": {"every": 1, "against": {"kind": "reverse", "truncate": 99}}},
        {},
        "comparison/against",
        "lower `truncate`",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    diagnostics, algorithm, pointer, message = REFUSED[name]
    with pytest.raises(ValidationError, match=message) as caught:
        described(diagnostics=diagnostics, **algorithm)
    (error,) = caught.value.errors()
    assert error["ctx"]["pointer"] == f"/diagnostics/{pointer}"


@pytest.mark.parametrize("section", ALL)
def test_algorithms_without_a_hypergradient_of_t_steps_are_not_measured(section: str) -> None:
    spec = {
        "problem": {"kind": "quadratic"},
        "algorithm": {"kind": "real_time"},
        "diagnostics": {section: ALL[section]},
    }
    with pytest.raises(ValidationError, match="use the algorithm `nested`") as caught:
        Experiment.model_validate(spec)
    assert caught.value.errors()[0]["ctx"]["pointer"] == f"/diagnostics/{section}/every"


def test_what_is_not_asked_for_refuses_nothing() -> None:
    described(diagnostics={"comparison": {"against": {"kind": "reverse", "truncate": 99}}})
    described(diagnostics={"truncation": {"steps": "half"}}, steps=1)
