"""The assumptions of the convergence theorem after a run: those that series decide are judged by what was measured."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from core.spec.assumptions import assumptions
from core.spec.diagnostics import Stationarity
from core.spec.experiment import Experiment

Judged = Literal["by construction", "met on measurement", "not met on measurement", "not measured", "not met"]


SECTIONS = {"contraction_factor": "`contraction`", "inner_gradient_relative": "`stationarity`"}
"""Of the diagnostics, by the series that they give."""


CONTRACTING = 1 - 1e-4
"""Largest factor that counts as a contraction: a factor of 1 is measured to a few digits, from either side."""


class Worst(NamedTuple):
    """The largest value of a series, NaN if there was one, and where it was."""

    value: float
    hyperiteration: int


def judged(spec: Experiment, measured: Mapping[str, Worst]) -> list[dict[str, Any]]:
    """As `assumptions`, with a verdict instead of `measured`, and the worst values of the series that it rests on.

    `met on measurement`: every series that was measured stayed below its bound at every hyperiteration that was looked
    at. That is evidence, not a proof: the theorem asks for it at every lam.
    """
    bounds = _bounds(spec)
    return [_judged(entry, measured, bounds) for entry in assumptions(spec)]


def _bounds(spec: Experiment) -> dict[str, float]:
    """What each series has to stay below.

    A contraction has a factor below `CONTRACTING`, whatever the experiment warns about; how small an inner gradient is
    small enough is the experiment's to say (`warn_above` of the stationarity).
    """
    stationary = spec.diagnostics.stationarity.warn_above
    default: float = Stationarity.model_fields["warn_above"].default
    return {"contraction_factor": CONTRACTING, "inner_gradient_relative": default if stationary is None else stationary}


def _judged(entry: dict[str, Any], measured: Mapping[str, Worst], bounds: Mapping[str, float]) -> dict[str, Any]:
    if entry["status"] != "measured":
        return {**entry, "worst": {}}
    worst = {name: measured[name] for name in entry["series"] if name in measured}
    status, finding = _finding(worst, [name for name in entry["series"] if name not in measured], bounds)
    values = {name: seen.value for name, seen in worst.items()}
    return {**entry, "status": status, "reason": f"{entry['reason']} {finding}", "worst": values}


def _finding(worst: Mapping[str, Worst], missing: list[str], bounds: Mapping[str, float]) -> tuple[Judged, str]:
    """The verdict, and a sentence with the numbers."""
    if not worst:
        return (
            "not measured",
            f"Nothing measured it: give `every` to {' or '.join(SECTIONS[name] for name in missing)}.",
        )
    within = {name: seen.value < bounds[name] for name, seen in worst.items()}  # NaN is not
    parts = [_compared(name, seen, bounds[name], below=within[name]) for name, seen in worst.items()]
    parts += [f"{name} was not measured" for name in missing]
    status: Judged = "met on measurement" if all(within.values()) else "not met on measurement"
    return status, f"Measured: {', '.join(parts)}."


def _compared(name: str, seen: Worst, bound: float, *, below: bool) -> str:
    at = "at most" if below else f"at hyperiteration {seen.hyperiteration}"
    return f"{name} was {seen.value:.6g} {at} ({'below' if below else 'not below'} {bound:g})"
