"""What of curves is drawn together: the panels of a picture, their titles, lines and thresholds."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

MOST_LINES = 8
"""Lines of a panel that are told apart by colour."""
GRADIENTS = {
    "hypergradient_norm": "Norm of the hypergradient",
    "inner_gradient_norm": "Norm of the inner gradient at $w_T$",
    "solver_residual": "Residual of the linear solve",
    "solver_iterations": "Iterations of the linear solve",
}
"""Titles of the series that come with hypergradients."""
DIAGNOSTICS = {
    "inner_gradient_relative": "Inner gradient at $w_T$ over that at $w_0$",
    "truncation_error": "Truncation error",
    "comparison_error": "Difference from another hypergradient",
    "comparison_cosine": "Cosine with another hypergradient",
    "contraction_factor": "Contraction factor",
    "contraction_error": "Error of the contraction factor",
    "direction_cosine": "Cosine with the hypergradient before",
}
"""Titles of the series that are measured beside."""
THRESHOLDS = {
    "inner_gradient_relative": ("stationarity", "warn_above"),
    "truncation_error": ("truncation", "warn_above"),
    "comparison_error": ("comparison", "warn_above"),
    "contraction_factor": ("contraction", "warn_above"),
    "direction_cosine": ("direction", "warn_below"),
    "solver_residual": ("solver", "warn_above"),
}
"""Where `diagnostics` of a spec say from which value of a series on there are warnings."""
LABELS = {"inner_objective_start": "at $w_0$", "inner_objective_end": "at $w_T$"}
"""Short names of lines."""


class Panel(NamedTuple):
    """What is drawn together."""

    title: str
    series: tuple[str, ...]
    fraction: bool = False
    """Whether the values are fractions, shown in per cent."""
    logarithmic: bool = False
    """Whether the axis may be logarithmic."""


def panels(names: Sequence[str]) -> Iterator[Panel]:
    """Panels in the order in which one looks at them, of the series that are there."""
    known = set(names)

    def present(*wanted: str) -> tuple[str, ...]:
        return tuple(name for name in wanted if name in known)

    yield from _filled(Panel("Outer objective", present("outer_objective"), logarithmic=True))
    for metric in dict.fromkeys(name.split("/", 1)[1] for name in names if name.startswith(("validation/", "test/"))):
        both = present(f"validation/{metric}", f"test/{metric}")
        accuracy = "accuracy" in metric
        yield Panel(metric.replace("_", " ").capitalize(), both, fraction=accuracy, logarithmic=not accuracy)
    both = present("inner_objective_start", "inner_objective_end")
    yield from _filled(Panel("Inner objective", both, logarithmic=True))
    yield from _titled(GRADIENTS, known)
    outer = [name for name in names if name.startswith("outer/")]
    for variable in dict.fromkeys(_family(name) for name in outer):
        own = tuple(name for name in outer if _family(name) == variable)
        yield Panel(variable.replace("_", " ").capitalize(), own, logarithmic=True)
    yield from _filled(Panel("Seconds a hyperiteration", present("seconds")))
    yield from _titled(DIAGNOSTICS, known)
    placed = {"outer_objective", "inner_objective_start", "inner_objective_end", "seconds", *GRADIENTS, *DIAGNOSTICS}
    others = (each for each in names if each not in placed and not each.startswith(("validation/", "test/", "outer/")))
    yield from _titled({name: name for name in others}, known)


def apart(panel: Panel) -> Iterator[Panel]:
    """A panel for each of its series, where they would be told apart."""
    if not 1 < len(panel.series) <= MOST_LINES:
        yield panel
        return
    for name in panel.series:
        yield _alone(panel, name)


def panel_of(name: str) -> Panel:
    """The panel of one series by itself."""
    (panel,) = panels([name])
    return _alone(panel, name) if "/" in name else panel


def thresholds(panel: Panel, specs: Iterable[Mapping[str, Any]]) -> list[float]:
    """Values of the panel's series from which on the experiments of these specs warn."""
    if len(panel.series) != 1 or panel.series[0] not in THRESHOLDS:
        return []
    section, field = THRESHOLDS[panel.series[0]]
    found = {spec.get("diagnostics", {}).get(section, {}).get(field) for spec in specs}
    return sorted(found - {None})


def _alone(panel: Panel, name: str) -> Panel:
    own = label(name)
    title = panel.title if own.lower() == panel.title.lower() else f"{panel.title}, {own}"
    return panel._replace(title=title, series=(name,))


def _titled(titles: Mapping[str, str], known: Container[str]) -> Iterator[Panel]:
    return (Panel(title, (name,), logarithmic=True) for name, title in titles.items() if name in known)


def _family(name: str) -> str:
    """The first word of an outer variable's name: weight of weight_clean, rate of rate/0."""
    return name.split("/")[1].split("_")[0]


def _filled(panel: Panel) -> Iterator[Panel]:
    if panel.series:
        yield panel


def label(name: str) -> str:
    """The short name of a series: validation of validation/accuracy, 0 of outer/rate/0."""
    first, _, rest = name.partition("/")
    if first != "outer":
        return LABELS.get(first, first)
    family = _family(name)
    return rest.removeprefix(family).lstrip("_/").replace("_", " ") or rest
