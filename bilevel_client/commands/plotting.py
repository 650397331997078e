"""Curves as a picture: one panel a quantity, one colour an experiment or a series."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bilevel_client.client import Curves, Record, Series
from bilevel_client.commands.numbers import number, percent

Drawn = Sequence[tuple[Record, Curves]]

PALETTE = ("#3b6fd4", "#e07b39", "#2a9d78", "#b5489b", "#8a6fd1", "#c9a227", "#4aa8c9", "#d1495b")
INK, FAINT, GRID = "#23272e", "#7a828e", "#e7e9ed"
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": "#c4c9d1",
    "axes.labelcolor": FAINT,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "savefig.dpi": 160,
}
PANEL = (5.0, 3.1)
"""Width and height in inches."""
HEAD = 0.75
"""Inches for the title."""
MOST_LINES = 8
"""Lines of a panel that are told apart by colour."""
MARKED = 40
"""Points up to which each is marked."""

OWN_PANEL = (
    "outer_objective",
    "inner_objective_start",
    "inner_objective_end",
    "hypergradient_norm",
    "inner_gradient_norm",
    "solver_residual",
    "solver_iterations",
    "seconds",
)
"""Series that have a place of their own in the picture; others come at the end."""
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


def draw(path: Path, drawn: Drawn) -> None:
    """Draws the curves of experiments into a file, whose name says the format.

    Raises:
        ValueError: there is no such format.
    """
    with mpl.rc_context(STYLE):
        panels = list(_panels(sorted({name for _, curves in drawn for name in curves.series})))
        columns = min(len(panels), 3 if len(panels) > 4 else 2)
        rows = math.ceil(len(panels) / columns)
        figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows + HEAD))
        rest = 1 - HEAD / figure.get_figheight()
        spaces: Any = {"w_pad": 0.12, "h_pad": 0.12, "wspace": 0.04, "hspace": 0.06}
        figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0, 0, 1, rest), **spaces))
        axes = figure.subplots(rows, columns, squeeze=False).flatten()
        for panel, place in zip(panels, axes, strict=False):
            _draw_panel(place, panel, drawn)
        for place in axes[: max(len(panels) - columns, 0)]:
            place.set_xlabel("")
        for place in axes[len(panels) :]:
            place.set_axis_off()
        _title(figure, drawn)
        figure.savefig(path)


def _panels(names: Sequence[str]) -> Iterator[Panel]:
    """Panels in the order in which one looks at them, of the series that are there."""
    known = set(names)

    def present(*wanted: str) -> tuple[str, ...]:
        return tuple(name for name in wanted if name in known)

    yield from _filled(Panel("Outer objective", present("outer_objective"), logarithmic=True))
    for metric in dict.fromkeys(name.split("/", 1)[1] for name in names if name.startswith(("validation/", "test/"))):
        both = present(f"validation/{metric}", f"test/{metric}")
        accuracy = "accuracy" in metric
        yield Panel(metric.replace("_", " ").capitalize(), both, fraction=accuracy, logarithmic=not accuracy)
    for title, wanted in (
        ("Inner objective", ("inner_objective_start", "inner_objective_end")),
        ("Norm of the hypergradient", ("hypergradient_norm",)),
        ("Norm of the inner gradient at $w_T$", ("inner_gradient_norm",)),
        ("Residual of the linear solve", ("solver_residual",)),
        ("Iterations of the linear solve", ("solver_iterations",)),
    ):
        yield from _filled(Panel(title, present(*wanted), logarithmic=True))
    outer = [name for name in names if name.startswith("outer/")]
    for variable in dict.fromkeys(_family(name) for name in outer):
        own = tuple(name for name in outer if _family(name) == variable)
        yield Panel(variable.replace("_", " ").capitalize(), own, logarithmic=True)
    yield from _filled(Panel("Seconds a hyperiteration", present("seconds")))
    for name in names:
        if name not in OWN_PANEL and not name.startswith(("validation/", "test/", "outer/")):
            yield Panel(name, (name,), logarithmic=True)


def _family(name: str) -> str:
    """The first word of an outer variable's name: weight of weight_clean, rate of rate/0."""
    return name.split("/")[1].split("_")[0]


def _filled(panel: Panel) -> Iterator[Panel]:
    if panel.series:
        yield panel


def _draw_panel(axes: Axes, panel: Panel, drawn: Drawn) -> None:
    lines = [
        (_label(panel, drawn, record, name), curves.series[name])
        for record, curves in drawn
        for name in panel.series
        if name in curves.series
    ]
    values = [value for _, series in lines for value in series.value if math.isfinite(value)]
    if panel.logarithmic and values and min(values) > 0 and max(values) > 50 * min(values):
        axes.set_yscale("log")
    shown = percent if panel.fraction else number
    many = len(lines) > MOST_LINES
    for place, (label, series) in enumerate(lines):
        newest = shown(series.value[-1])
        _draw_line(axes, series, PALETTE[0 if many else place], "" if many else f"{label}   {newest}", many)
    axes.set_title(panel.title)
    if len(lines) == 1:
        axes.set_title(shown(lines[0][1].value[-1]), loc="right", color=PALETTE[0], fontsize=10)
    axes.set_xlabel("hyperiteration", loc="right")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.margins(x=0.02)
    if panel.fraction:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    if 1 < len(lines) <= MOST_LINES:
        axes.legend(loc="best", handlelength=1.4)


def _draw_line(axes: Axes, series: Series, colour: str, label: str, faint: bool) -> None:
    finite = [(step, value) for step, value in zip(series.step, series.value, strict=True) if math.isfinite(value)]
    marker = {"marker": "o", "markersize": 3.6} if len(finite) <= MARKED and not faint else {}
    noisy = len(finite) > 200
    axes.plot(
        series.step,
        [value if math.isfinite(value) else math.nan for value in series.value],
        color=colour,
        linewidth=1.0 if faint or noisy else 1.8,
        alpha=0.55 if faint else 0.95,
        solid_capstyle="round",
        label=label or None,
        **marker,  # type: ignore[arg-type]
    )
    for step in sorted(set(series.step) - {step for step, _ in finite}):
        # A value that is not finite has no height: it is marked at the upper edge.
        axes.plot(step, 0.97, "x", color="#d1495b", transform=axes.get_xaxis_transform(), markersize=6, clip_on=False)
    for step in _seams(series):
        axes.axvline(step, color=FAINT, linewidth=0.8, linestyle=(0, (2, 3)), zorder=0)


def _seams(series: Series) -> Iterator[int]:
    """Hyperiterations at which another attempt went on."""
    attempts = series.attempt or []
    for step, before, after in zip(series.step[1:], attempts, attempts[1:], strict=False):
        if after > before:
            yield step


def _label(panel: Panel, drawn: Drawn, record: Record, name: str) -> str:
    """What tells a line from the others of its panel."""
    own = ""
    if len(panel.series) > 1:
        first, _, rest = name.partition("/")
        own = rest.replace("_", " ") if first == "outer" else LABELS.get(first, first)
    if len(drawn) == 1:
        return own
    return f"{_name(record, 24)} ({record['id'][:4]})" + (f", {own}" if own else "")


def _name(record: Record, longest: int) -> str:
    name = str(record["name"]).replace("$", r"\$")
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _title(figure: Figure, drawn: Drawn) -> None:
    if len(drawn) > 1:
        _write(figure, 0.16, f"{len(drawn)} experiments", fontsize=14, fontweight="bold")
        return
    record = drawn[0][0]
    progress = record["progress"]
    algorithm = record["spec"]["algorithm"]
    facts = (
        record["spec"]["problem"]["kind"].replace("_", " "),
        f"{algorithm['hypergradient']['kind']} hypergradient, T = {algorithm['steps']}",
        f"{progress['hyperiteration']} of {progress['hyperiterations']} hyperiterations",
        record["status"],
        record["id"][:8],
    )
    _write(figure, 0.16, _name(record, 80), fontsize=14, fontweight="bold")
    _write(figure, 0.48, "   ·   ".join(facts), fontsize=9, color=FAINT)


def _write(figure: Figure, inches: float, text: str, **looks: Any) -> None:
    """Writes so many inches below the upper edge."""
    left, top = 0.16 / figure.get_figwidth(), 1 - inches / figure.get_figheight()
    figure.text(left, top, text, va="top", ha="left", **looks)
