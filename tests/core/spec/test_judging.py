"""Assumptions after a run: what the numbers make of those that the spec alone does not decide."""

import math
from typing import Any

import pytest

from core.spec import Experiment
from core.spec.assumptions import assumptions
from core.spec.judging import Worst, judged

FACTOR, GRADIENT = "contraction_factor", "inner_gradient_relative"


def spec(diagnostics: dict[str, Any] | None = None, hypergradient: dict[str, Any] | None = None) -> Experiment:
    """Ridge regression by gradient descent, whose convergence depends on the data."""
    algorithm = {"hypergradient": hypergradient} if hypergradient else {}
    body = {"problem": {"kind": "regularization"}, "algorithm": algorithm, "diagnostics": diagnostics or {}}
    return Experiment.model_validate(body)


def convergence(
    measured: dict[str, Worst],
    diagnostics: dict[str, Any] | None = None,
    hypergradient: dict[str, Any] | None = None,
) -> dict[str, Any]:
    found = judged(spec(diagnostics, hypergradient), measured)
    (entry,) = [each for each in found if each["name"] == "uniform convergence"]
    return entry


MET, UNDECIDED, NOT_MET = "met on measurement", "undecided", "not met on measurement"


@pytest.mark.parametrize(
    ("factor", "gradient", "status"),
    [
        (0.99, 0.05, MET),
        (1.3, 0.05, NOT_MET),
        (1.0, 0.05, UNDECIDED),  # a contraction is below one, and a factor of one is measured from either side
        (0.9999998, 0.05, UNDECIDED),
        (0.99995, 0.05, UNDECIDED),
        (0.99995, 0.2, NOT_MET),
        (1.0002, 0.05, NOT_MET),
        (0.99, 0.1, NOT_MET),
        (math.nan, 0.05, NOT_MET),
        (0.99, math.inf, NOT_MET),
        (0.99, None, MET),
        (None, 0.2, NOT_MET),
    ],
)
def test_measured_values_decide(factor: float | None, gradient: float | None, status: str) -> None:
    values = {FACTOR: factor, GRADIENT: gradient}
    measured = {name: Worst(value, 7) for name, value in values.items() if value is not None}
    found = convergence(measured)
    assert found["status"] == status
    assert found["worst"] == {name: worst.value for name, worst in measured.items()}
    for name, value in values.items():
        assert (f"{name} was not measured" if value is None else f"{name} was {value:.6g}") in found["reason"]
    assert ("at hyperiteration 7 (not below" in found["reason"]) == (status == NOT_MET)
    near = factor is not None and abs(factor - 1) < 1e-4
    assert ("+- 0.0001 at hyperiteration 7 (cannot be told from 1)" in found["reason"]) == near


@pytest.mark.parametrize(("factor", "status"), [(0.98, MET), (0.9887, UNDECIDED), (1.0081, UNDECIDED), (1.03, NOT_MET)])
def test_a_factor_is_as_good_as_its_error(factor: float, status: str) -> None:
    measured = {FACTOR: Worst(factor, 7), "contraction_error": Worst(0.015, 3)}
    assert convergence(measured)["status"] == status


CONVERGED = {FACTOR: Worst(0.9, 1), GRADIENT: Worst(0.05, 2)}
IMPLICIT = {"kind": "implicit"}


@pytest.mark.parametrize(
    ("error", "truncation", "status"),
    [
        (0.56, {}, NOT_MET),
        (math.nan, {}, NOT_MET),
        (0.05, {}, MET),
        (0.56, {"warn_above": 0.6}, MET),
        (0.56, {"warn_above": None}, NOT_MET),
        (0.56, {"steps": "half"}, UNDECIDED),  # that is the error of T/2 steps
    ],
)
def test_a_truncation_error_speaks_against_convergence(error: float, truncation: dict[str, Any], status: str) -> None:
    found = convergence({**CONVERGED, "truncation_error": Worst(error, 3)}, {"truncation": truncation})
    assert found["status"] == status
    named = "truncation_error" in found["worst"]
    assert named == ("truncation_error" in found["series"]) == (status != MET)
    assert (f"truncation_error was {error:.6g} at hyperiteration 3 (not below 0.1)" in found["reason"]) == named
    assert convergence({"truncation_error": Worst(0.56, 3)})["status"] == NOT_MET


@pytest.mark.parametrize(
    ("hypergradient", "against", "status"),
    [
        (IMPLICIT, None, UNDECIDED),
        (IMPLICIT, {"kind": "exact"}, UNDECIDED),
        (IMPLICIT, {"kind": "reverse"}, UNDECIDED),
        ({"kind": "reverse"}, IMPLICIT, UNDECIDED),
        ({"kind": "reverse"}, None, MET),  # both are of f_T, whatever w_T is
        ({"kind": "reverse", "truncate": 5}, None, MET),  # what is wrong is the method
        (IMPLICIT, {"kind": "reverse", "truncate": 5}, MET),
    ],
)
def test_a_comparison_that_failed_leaves_it_undecided(
    hypergradient: dict[str, Any], against: dict[str, Any] | None, status: str
) -> None:
    asked = {"comparison": {"every": 1, "against": against}}
    found = convergence({**CONVERGED, "comparison_error": Worst(0.4, 3)}, asked, hypergradient)
    assert found["status"] == status
    assert convergence({**CONVERGED, "comparison_error": Worst(0.04, 3)}, asked, hypergradient)["status"] == MET


def test_what_nothing_measured_says_what_to_ask_for() -> None:
    found = convergence({"truncation_error": Worst(0.05, 0)})
    assert found["status"] == "not measured"
    assert "`contraction`" in found["reason"]
    assert "`stationarity`" in found["reason"]
    assert found["worst"] == {}


def test_the_experiment_says_how_stationary_is_enough_and_the_theorem_what_contracts() -> None:
    lenient = {"stationarity": {"warn_above": 0.5}, "contraction": {"warn_above": 2}}
    assert convergence({GRADIENT: Worst(0.3, 0)}, lenient)["status"] == "met on measurement"
    assert convergence({FACTOR: Worst(1.3, 0)}, lenient)["status"] == "not met on measurement"
    silent = {"stationarity": {"warn_above": None}, "contraction": {"warn_above": None}}
    assert convergence({GRADIENT: Worst(0.3, 0)}, silent)["status"] == "not met on measurement"
    assert convergence({FACTOR: Worst(1.3, 0)}, silent)["status"] == "not met on measurement"


def test_what_the_spec_decides_stays_as_it_is() -> None:
    for before, after in zip(assumptions(spec()), judged(spec(), {FACTOR: Worst(2.0, 1)}), strict=True):
        if before["status"] != "measured":
            assert after == {**before, "worst": {}}
