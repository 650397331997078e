"""Thresholds warn when they are crossed, once, and again only after the value was on the right side."""

import math
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from core.checkpointing import MemoryCheckpoints
from core.recording import MemoryRecorder
from core.run import run
from core.series import Series
from core.spec import Experiment
from core.spec.plugins import PluginProblem
from core.thresholds import Memory, Watched, look, summary, watched

ABOVE, BELOW, NEVER = (
    Watched(0.5, "error {value}"),
    Watched(-0.5, "cosine {value}", higher_is_worse=False),
    Watched(None),
)


def warned(series: Watched, values: list[float]) -> tuple[list[int], Memory]:
    """The hyperiterations with a warning, and the memory at the end."""
    memory: Memory = {}
    at = []
    for k, value in enumerate(values):
        memory, warnings = look({"x": series}, memory, k, {"x": value, "other": 1e9})
        at += [warning["hyperiteration"] for warning in warnings]
    return at, memory


@pytest.mark.parametrize(
    ("series", "values", "expected"),
    [
        (ABOVE, [0.1, 0.5, 0.6, 0.7, 0.2, 0.9], [2, 5]),
        (ABOVE, [0.6, 0.7], [0]),
        (ABOVE, [math.nan, math.inf, 0.0, math.nan], [0, 3]),
        (BELOW, [0.9, -0.5, -0.6, -1.0, 0.0, -0.9], [2, 5]),
        (NEVER, [1e9, math.nan], []),
    ],
)
def test_one_warning_in_a_row(series: Watched, values: list[float], expected: list[int]) -> None:
    at, memory = warned(series, values)
    assert at == expected
    assert memory["x"].warnings == len(expected)
    assert memory["x"].last == values[-1] or math.isnan(values[-1])


def test_last_and_worst_are_remembered() -> None:
    for series, values, worst, at in (
        (ABOVE, [0.1, 0.9, 0.3, 0.9], 0.9, 1),
        (BELOW, [0.1, 0.9, -0.3], -0.3, 2),
        (NEVER, [2.0, 1.0], 2.0, 0),
    ):
        _, memory = warned(series, values)
        assert (memory["x"].worst, memory["x"].worst_hyperiteration, memory["x"].last) == (worst, at, values[-1])
    _, memory = warned(ABOVE, [math.nan, 0.9, 0.1])
    assert math.isnan(memory["x"].worst)
    assert summary(memory)["x"].keys() == {"last", "worst", "worst_hyperiteration", "warnings"}


def test_a_warning_says_what_where_and_how_much() -> None:
    spec = Experiment.model_validate({"problem": {"kind": "quadratic"}})
    _, (warning,) = look(watched(spec), {}, 7, {"truncation_error": 0.4})
    advice = "raise `algorithm.steps` or the inner rate"
    assert warning == {
        "hyperiteration": 7,
        "series": "truncation_error",
        "value": 0.4,
        "threshold": 0.1,
        "message": f"T too short: relative truncation error 0.4; {advice}, or take `heavy_ball`",
    }
    body = {"problem": {"kind": "quadratic"}, "algorithm": {"dynamics": {"kind": "heavy_ball"}}}
    _, (warning,) = look(watched(Experiment.model_validate(body)), {}, 7, {"truncation_error": 0.4})
    assert warning["message"].endswith(advice)
    _, warnings = look(watched(spec), {}, 0, {"contraction_factor": 1.03, "solver_residual": 0.2, "seconds": 99.0})
    assert [warning["message"] for warning in warnings] == [
        "inner dynamics not contracting: factor 1.03 at w_T",
        "linear system not solved: relative residual 0.2",
    ]


def test_a_factor_warns_beyond_its_error() -> None:
    series = watched(Experiment.model_validate({"problem": {"kind": "quadratic"}}))
    points = [{"contraction_factor": 1.0081, "contraction_error": error} for error in (0.013, 0.001)]
    memory, warnings = look(series, {}, 0, points[0])
    assert warnings == []
    memory, (warning,) = look(series, memory, 1, points[1])
    assert warning["value"] == 1.0081
    assert memory["contraction_error"].worst == 0.013


def test_a_factor_that_is_not_a_number_warns_whatever_its_error() -> None:
    series = watched(Experiment.model_validate({"problem": {"kind": "quadratic"}}))
    for error in (math.nan, 0.1):
        _, (warning,) = look(series, {}, 0, {"contraction_factor": math.nan, "contraction_error": error})
        assert warning["series"] == "contraction_factor"


def test_algorithms_that_keep_their_inner_variables_have_no_last_step() -> None:
    spec = Experiment.model_validate(
        {"problem": {"kind": "random_quadratics"}, "algorithm": {"kind": "soba", "hyperiterations": 1}}
    )
    _, (warning,) = look(watched(spec), {}, 0, {"inner_gradient_relative": 0.4})
    assert warning["message"] == "inner problem not solved: w has 0.4 of the inner gradient at w_0"


def test_a_factor_that_rounding_lifts_above_one_is_no_warning() -> None:
    """Offsets of softmax regression give an eigenvalue of exactly 1."""
    series = watched(Experiment.model_validate({"problem": {"kind": "quadratic"}}))
    assert look(series, {}, 0, {"contraction_factor": 1 + 7.3e-5})[1] == []  # the largest that was measured
    spec = {
        "problem": {"kind": "regularization", "dataset": {"kind": "wine"}, "model": {"kind": "linear", "bias": True}},
        "algorithm": {"steps": 60, "hyperiterations": 20},
        "diagnostics": {"contraction": {"every": 1}},
        "evaluation": {"every": 20},
    }
    recorder = MemoryRecorder()
    run(
        Experiment.model_validate(spec),
        device="cpu",
        data_dir=Path(),
        recorder=recorder,
        checkpoints=MemoryCheckpoints(),
    )
    assert list(recorder.curves["contraction_factor"].values()) == pytest.approx([1] * 20, abs=1e-5)
    assert [data for _, data in recorder.events if data.get("series") == "contraction_factor"] == []


@pytest.mark.parametrize(
    ("algorithm", "advice"),
    [
        ({"steps": 5}, "start where it is not"),
        ({"hypergradient": {"kind": "first_order"}}, "`first_order` takes the direct term alone: use `reverse`"),
    ],
)
def test_a_hypergradient_that_is_exactly_0_at_the_start_warns_once(algorithm: dict[str, Any], advice: str) -> None:
    problem = {"kind": "quadratic", "damping": 0.1}
    series = watched(Experiment.model_validate({"problem": problem, "algorithm": algorithm}))
    memory, (warning,) = look(series, {}, 0, {"hypergradient_norm": 0.0})
    assert (warning["series"], warning["value"], warning["threshold"]) == ("hypergradient_norm", 0.0, 0.0)
    assert warning["message"].startswith("no outer variable reaches the outer objective: ")
    assert advice in warning["message"]
    for k, norm in enumerate((0.0, 1.0, 0.0), start=1):  # which is nothing to warn of where it was reached
        memory, warnings = look(series, memory, k, {"hypergradient_norm": norm})
        assert warnings == []
    for norm in (1e-300, math.nan):
        assert look(series, {}, 0, {"hypergradient_norm": norm})[1] == []


def test_whoever_wrote_the_problem_is_told_where_to_look() -> None:
    class Mine(PluginProblem):
        build = "mine:build"
        kind: Literal["mine"] = "mine"

        def inner_variables(self) -> int:
            return 1

        def outer_variables(self) -> int:
            return 1

    spec = Experiment.model_validate({"problem": {"kind": "quadratic"}}).model_copy(update={"problem": Mine()})
    _, (warning,) = look(watched(spec), {}, 0, {"hypergradient_norm": 0.0})
    assert ".detach()" in warning["message"]


@pytest.mark.parametrize("kind", ["soba", "real_time", "f2sa"])
def test_algorithms_that_go_on_may_start_with_a_hypergradient_of_0(kind: str) -> None:
    """One inner step from w = 0 does not see the strength yet, and the first v is 0."""
    spec = {"problem": {"kind": "regularization"}, "algorithm": {"kind": kind, "hyperiterations": 2}}
    assert look(watched(Experiment.model_validate(spec)), {}, 0, {"hypergradient_norm": 0.0})[1] == []


def test_inner_steps_that_do_not_see_the_outer_variables_are_told_of_once() -> None:
    """After one step from w = 0 the penalty has not had a gradient."""
    spec = {"problem": {"kind": "regularization"}, "algorithm": {"steps": 1, "hyperiterations": 4}}
    recorder, checkpoints = MemoryRecorder(), MemoryCheckpoints()
    run(Experiment.model_validate(spec), device="cpu", data_dir=Path(), recorder=recorder, checkpoints=checkpoints)
    assert set(recorder.curves["hypergradient_norm"].values()) == {0.0}
    (warning,) = [data for kind, data in recorder.events if kind == "warning"]
    assert warning["series"] == "hypergradient_norm"
    assert "more inner steps" in warning["message"]


def test_values_of_a_batch_warn_in_order_when_they_are_read() -> None:
    recorder = MemoryRecorder()
    series = Series(recorder, {"x": ABOVE})
    for k, value in enumerate([0.1, 0.9, 0.9, 0.1, 0.8]):
        values = {"outer_objective": torch.tensor(0.0), "hypergradient_norm": torch.tensor(1.0)}
        series.start()
        series.add(k, values | ({"x": torch.tensor(value)} if k != 2 else {}), {})
    series.drain()
    assert [(kind, data["hyperiteration"]) for kind, data in recorder.events] == [("warning", 1), ("warning", 4)]
    assert series.seen["x"].warnings == 2
