"""What is remembered of a diagnostic's series, and when a value of it is worth a warning.

A series warns when its threshold is first crossed, and again only after it has been on the right side in between.
A value that is not a number is on the wrong side. The norm of the hypergradient warns where it starts at exactly 0.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from core.spec import Experiment
from core.spec.algorithms import FirstOrder, GradientDescent, Nested
from core.spec.plugins import PluginProblem
from core.spec.stochastic import Stochastic


class Watched(NamedTuple):
    """How a series is judged."""

    threshold: float | None
    """None: never warned about."""
    text: str = ""
    """What a warning says; {value} stands for the value."""
    higher_is_worse: bool = True
    give: str | None = None
    """The series whose value says how far the threshold has to be crossed at least."""
    zero_at_start: bool = False
    """Whether hyperiteration 0 alone is judged, and the wrong side is to be exactly 0."""

    def worse(self, value: float, than: float) -> bool:
        """NaN is worse than any number."""
        if math.isnan(value) or math.isnan(than):
            return not math.isnan(than)
        return value > than if self.higher_is_worse else value < than

    def crossed(self, k: int, value: float, point: Mapping[str, float]) -> bool:
        """Whether the value, one of hyperiteration k's point, is on the wrong side."""
        if self.zero_at_start:
            return k == 0 and value == 0
        if self.threshold is None:
            return False
        give = 0.0 if self.give is None else point.get(self.give, 0.0)
        return math.isnan(value) or self.worse(value, self.threshold + give)


class Seen(NamedTuple):
    """What is remembered of a series."""

    last: float
    worst: float
    worst_hyperiteration: int
    warnings: int = 0
    crossed: bool = False
    """Whether the last value is on the wrong side."""


Memory = Mapping[str, Seen]
"""By the name of the series."""


def watched(spec: Experiment) -> dict[str, Watched]:
    """Every series that says something about the hypergradient, by its name."""
    asked = spec.diagnostics
    shorter = "half of T" if asked.truncation.steps == "half" else "T"
    w = "w" if isinstance(spec.algorithm, Stochastic) else "w_T"
    return {
        "hypergradient_norm": _reaching(spec),
        "inner_gradient_norm": Watched(None),
        "inner_gradient_relative": Watched(
            asked.stationarity.warn_above,
            f"inner problem not solved: {w} has {{value}} of the inner gradient at w_0",
        ),
        "solver_iterations": Watched(None),
        "solver_residual": Watched(asked.solver.warn_above, "linear system not solved: relative residual {value}"),
        "truncation_error": Watched(
            asked.truncation.warn_above, f"{shorter} too short: relative truncation error {{value}}; {_longer(spec)}"
        ),
        "comparison_cosine": Watched(None, higher_is_worse=False),
        "comparison_error": Watched(
            asked.comparison.warn_above, f"hypergradient off: relative difference {{value}} from {_reference(spec)}"
        ),
        "contraction_factor": Watched(
            asked.contraction.warn_above,
            f"inner dynamics not contracting: factor {{value}} at {w}",
            give="contraction_error",
        ),
        "contraction_error": Watched(None),
        "direction_cosine": Watched(
            asked.direction.warn_below,
            "hypergradient turns around: cosine {value} with the one before; the outer rate may be too large",
            higher_is_worse=False,
        ),
    }


def _reaching(spec: Experiment) -> Watched:
    """Algorithms other than `nested` may start with a hypergradient of 0 that does not stay so."""
    if not isinstance(spec.algorithm, Nested):
        return Watched(None)
    if isinstance(spec.algorithm.hypergradient, FirstOrder):
        advice = "`first_order` takes the direct term alone: use `reverse`"
    elif isinstance(spec.problem, PluginProblem):
        advice = "look for what cuts it off, such as .detach(), torch.no_grad() or a tensor made anew from numbers"
    else:
        advice = "the start may be a stationary point: start where it is not, or take more inner steps"
    text = "no outer variable reaches the outer objective: the hypergradient is exactly 0, and no outer step will move;"
    return Watched(0.0, f"{text} {advice}", zero_at_start=True)


def _longer(spec: Experiment) -> str:
    """How w_T comes nearer to the minimizer."""
    plain = isinstance(getattr(spec.algorithm, "dynamics", None), GradientDescent)
    return f"raise `algorithm.steps` or the inner rate{', or take `heavy_ball`' if plain else ''}"


def _reference(spec: Experiment) -> str:
    against = spec.diagnostics.comparison.against
    return f"`{against.kind}`" if against else "central differences"


def look(
    series: Mapping[str, Watched], memory: Memory, k: int, point: Mapping[str, float]
) -> tuple[Memory, list[dict[str, Any]]]:
    """The memory with the values of hyperiteration k, and the data of the warnings that they raise."""
    seen = {name: _seen(series[name], memory.get(name), k, name, point) for name in series.keys() & point.keys()}
    raised = sorted(name for name in seen if seen[name].warnings > (memory[name].warnings if name in memory else 0))
    return {**memory, **seen}, [_warning(series[name], name, k, point[name]) for name in raised]


def _seen(series: Watched, before: Seen | None, k: int, name: str, point: Mapping[str, float]) -> Seen:
    value = point[name]
    crossed = series.crossed(k, value, point)
    if before is None:
        return Seen(value, value, k, int(crossed), crossed)
    worst, at = (value, k) if series.worse(value, before.worst) else (before.worst, before.worst_hyperiteration)
    return Seen(value, worst, at, before.warnings + (crossed and not before.crossed), crossed)


def _warning(series: Watched, name: str, k: int, value: float) -> dict[str, Any]:
    return {
        "hyperiteration": k,
        "series": name,
        "value": value,
        "threshold": series.threshold,
        "message": series.text.format(value=f"{value:.3g}"),
    }


def summary(memory: Memory) -> dict[str, dict[str, Any]]:
    """For a result: of each series its last and its worst value, and how many warnings it raised."""
    return {
        name: {key: value for key, value in memory[name]._asdict().items() if key != "crossed"}
        for name in sorted(memory)
    }
