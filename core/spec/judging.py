"""The assumptions of the convergence theorem after a run: those that series decide are judged by what was measured."""

from collections.abc import Mapping, Set
from typing import Any, Literal, NamedTuple

from core.spec.algorithms import Exact, FirstOrder, Implicit, Nested, RandomForward, Reptile, Reverse
from core.spec.algorithms import Hypergradient as Method
from core.spec.assumptions import assumptions
from core.spec.diagnostics import Comparison, Stationarity, Truncation
from core.spec.experiment import Experiment

Judged = Literal[
    "by construction",
    "met on measurement",
    "undecided",
    "not met on measurement",
    "not measured",
    "not known",
    "not met",
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
    at, and no hypergradient said otherwise. That is evidence, not a proof: the theorem asks for it at every lam.
    `undecided`: none was above its bound, and one could not be told from it, or a hypergradient speaks against it.
    """
    bounds, against = _bounds(spec, measured), _against(spec)
    return [_judged(entry, measured, bounds, against) for entry in assumptions(spec)]


class _Bound(NamedTuple):
    """What a series has to stay below, and how well it is measured."""

    value: float
    error: float


def _bounds(spec: Experiment, measured: Mapping[str, Worst]) -> dict[str, _Bound]:
    """A contraction has a factor below 1, whatever the experiment warns about; how small an inner gradient is small
    enough is the experiment's to say (`warn_above` of the stationarity)."""
    asked = spec.diagnostics
    error = measured["contraction_error"].value if "contraction_error" in measured else 0.0
    return {
        "contraction_factor": _Bound(1.0, max(DIGITS, error)),
        "inner_gradient_relative": _enough(asked.stationarity),
        "truncation_error": _enough(asked.truncation),
        "comparison_error": _enough(asked.comparison),
    }


def _enough(section: Stationarity | Truncation | Comparison) -> _Bound:
    default: float = type(section).model_fields["warn_above"].default
    return _Bound(default if section.warn_above is None else section.warn_above, 0.0)


Side = Literal["below", "near", "not below"]


def _against(spec: Experiment) -> dict[str, Side]:
    """Series of hypergradients that speak against convergence where they are not below their bound, and how loudly.

    Twice the steps would change nothing if w_T were w(lam); half of them say something of w_{T/2} alone. A comparison
    says something where one of the two takes w_T for w(lam) and neither leaves anything out or is an estimate.
    """
    algorithm, asked = spec.algorithm, spec.diagnostics
    truncation: Side = "not below" if asked.truncation.steps == "double" else "near"
    if not isinstance(algorithm, Nested):
        return {}
    pair = [_meant(method, algorithm.steps) for method in (algorithm.hypergradient, asked.comparison.against)]
    compared: dict[str, Side] = {"comparison_error": "near"} if None not in pair and "f" in pair else {}
    return {"truncation_error": truncation, **compared}


def _meant(method: Method | None, steps: int) -> Literal["f_T", "f"] | None:
    """Whose gradient a method takes; None: an estimate, or no gradient. Central differences are of f_T."""
    match method:
        case Exact() | Implicit():
            return "f"
        case FirstOrder() | Reptile() | RandomForward():
            return None
        case Reverse(truncate=int(last)) if last < steps:
            return None
        case _:
            return "f_T"


def _judged(
    entry: dict[str, Any], measured: Mapping[str, Worst], bounds: Mapping[str, _Bound], against: Mapping[str, Side]
) -> dict[str, Any]:
    if entry["status"] != "measured":
        return {**entry, "worst": {}}
    worst = {name: measured[name] for name in entry["series"] if name in measured}
    missing = [name for name in entry["series"] if name not in measured]
    contrary = {
        name: measured[name]
        for name in against
        if name in measured and _side(measured[name].value, bounds[name]) == "not below"
    }
    values = {name: seen.value for name, seen in (worst | contrary).items()}
    sides = {name: _side(value, bounds[name]) for name, value in values.items()}
    told = [_compared(name, seen, bounds[name], sides[name]) for name, seen in (worst | contrary).items()]
    status = _status({*(sides | {name: against[name] for name in contrary}).values()})
    finding = (
        f"Measured: {', '.join([*told, *(f'{name} was not measured' for name in missing)])}."
        if told
        else f"Nothing measured it: give `every` to {' or '.join(SECTIONS[name] for name in missing)}."
    )
    series = [*entry["series"], *contrary]
    return {**entry, "status": status, "reason": f"{entry['reason']} {finding}", "series": series, "worst": values}


def _status(said: Set[Side]) -> Judged:
    """The verdict of what series say; of nothing where none was measured."""
    if not said:
        return "not measured"
    return "not met on measurement" if "not below" in said else "undecided" if "near" in said else "met on measurement"


def _side(value: float, bound: _Bound) -> Side:
    if value < bound.value - bound.error:
        return "below"
    return "near" if bound.error > 0 and value <= bound.value + bound.error else "not below"  # NaN is not below


def _compared(name: str, seen: Worst, bound: _Bound, side: Side) -> str:
    at = "at most" if side == "below" else f"at hyperiteration {seen.hyperiteration}"
    error = f" +- {bound.error:.2g}" if side == "near" else ""
    where = "cannot be told from" if side == "near" else side
    return f"{name} was {seen.value:.6g}{error} {at} ({where} {bound.value:g})"
