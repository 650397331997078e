"""The assumptions of the convergence theorem after a run: those that series decide are judged by what was measured."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from core.spec.assumptions import assumptions
from core.spec.diagnostics import Stationarity
from core.spec.experiment import Experiment

Judged = Literal[
    "by construction", "met on measurement", "undecided", "not met on measurement", "not measured", "not met"
]


SECTIONS = {"contraction_factor": "`contraction`", "inner_gradient_relative": "`stationarity`"}
"""Of the diagnostics, by the series that they give."""


DIGITS = 1e-4
"""How well a factor of 1 is measured in float32, at least, from either side."""


class Worst(NamedTuple):
    """The largest value of a series, NaN if there was one, and where it was."""

    value: float
    hyperiteration: int


def judged(spec: Experiment, measured: Mapping[str, Worst]) -> list[dict[str, Any]]:
    """As `assumptions`, with a verdict instead of `measured`, and the worst values of the series that it rests on.

    `met on measurement`: every series that was measured stayed below its bound at every hyperiteration that was looked
    at. That is evidence, not a proof: the theorem asks for it at every lam. `undecided`: none was above its bound, and
    one could not be told from it.
    """
    bounds = _bounds(spec, measured)
    return [_judged(entry, measured, bounds) for entry in assumptions(spec)]


class _Bound(NamedTuple):
    """What a series has to stay below, and how well it is measured."""

    value: float
    error: float


def _bounds(spec: Experiment, measured: Mapping[str, Worst]) -> dict[str, _Bound]:
    """A contraction has a factor below 1, whatever the experiment warns about; how small an inner gradient is small
    enough is the experiment's to say (`warn_above` of the stationarity)."""
    stationary = spec.diagnostics.stationarity.warn_above
    default: float = Stationarity.model_fields["warn_above"].default
    error = measured["contraction_error"].value if "contraction_error" in measured else 0.0
    return {
        "contraction_factor": _Bound(1.0, max(DIGITS, error)),
        "inner_gradient_relative": _Bound(default if stationary is None else stationary, 0.0),
    }


def _judged(entry: dict[str, Any], measured: Mapping[str, Worst], bounds: Mapping[str, _Bound]) -> dict[str, Any]:
    if entry["status"] != "measured":
        return {**entry, "worst": {}}
    worst = {name: measured[name] for name in entry["series"] if name in measured}
    status, finding = _finding(worst, [name for name in entry["series"] if name not in measured], bounds)
    values = {name: seen.value for name, seen in worst.items()}
    return {**entry, "status": status, "reason": f"{entry['reason']} {finding}", "worst": values}


def _finding(worst: Mapping[str, Worst], missing: list[str], bounds: Mapping[str, _Bound]) -> tuple[Judged, str]:
    """The verdict, and a sentence with the numbers."""
    if not worst:
        return (
            "not measured",
            f"Nothing measured it: give `every` to {' or '.join(SECTIONS[name] for name in missing)}.",
        )
    sides = {name: _side(seen.value, bounds[name]) for name, seen in worst.items()}
    parts = [_compared(name, seen, bounds[name], sides[name]) for name, seen in worst.items()]
    parts += [f"{name} was not measured" for name in missing]
    found = set(sides.values())
    status: Judged = (
        "not met on measurement" if "not below" in found else "undecided" if "near" in found else "met on measurement"
    )
    return status, f"Measured: {', '.join(parts)}."


Side = Literal["below", "near", "not below"]


def _side(value: float, bound: _Bound) -> Side:
    if value < bound.value - bound.error:
        return "below"
    return "near" if bound.error > 0 and value <= bound.value + bound.error else "not below"  # NaN is not below


def _compared(name: str, seen: Worst, bound: _Bound, side: Side) -> str:
    at = "at most" if side == "below" else f"at hyperiteration {seen.hyperiteration}"
    error = f" +- {bound.error:.2g}" if side == "near" else ""
    where = "cannot be told from" if side == "near" else side
    return f"{name} was {seen.value:.6g}{error} {at} ({where} {bound.value:g})"
