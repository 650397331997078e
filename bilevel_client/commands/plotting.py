"""Curves as a picture: one panel a quantity, one colour an experiment or a series."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bilevel_client.client import Curves, Record, Series
from bilevel_client.commands.numbers import cut, in_order, number, percent

Drawn = Sequence[tuple[Record, Curves]]

PALETTE = ("#3b6fd4", "#e07b39", "#2a9d78", "#b5489b", "#8a6fd1", "#c9a227", "#4aa8c9", "#7d5a3c")
Dashes = Literal["-", "--", ":", "-."]
DASHES: tuple[Dashes, ...] = ("-", "--", ":", "-.")
INK, FAINT, GRID, ALARM = "#23272e", "#7a828e", "#e7e9ed", "#d1495b"
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
NOISY = 200
"""Points from which a line is thin."""
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
    """Draws the curves of experiments into a file, whose name says the format."""
    with mpl.rc_context(STYLE):
        panels = list(_panels(in_order({name for _, curves in drawn for name in curves.series})))
        columns = _columns(len(panels))
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


def _columns(panels: int) -> int:
    """Columns of a grid of panels: two for few, else three or four, whichever leaves fewer places empty."""
    if panels <= 4:
        return min(panels, 2)
    return min((3, 4), key=lambda columns: -panels % columns)


class Line(NamedTuple):
    """One series of one experiment in a panel."""

    series: Series
    label: str
    """What tells it from the other series of the panel; empty: there are none."""
    colour: str
    dashes: Dashes


def _lines(panel: Panel, drawn: Drawn) -> list[Line]:
    """One experiment: a colour for each series. Several: a colour for each experiment, dashes for each series.

    Series that are too many to be told apart are a bundle of one colour.
    """
    lines = []
    for experiment, (_, curves) in enumerate(drawn):
        for place, name in enumerate(panel.series):
            if name not in curves.series:
                continue
            label = _label(name) if 1 < len(panel.series) <= MOST_LINES else ""
            tint = experiment if len(drawn) > 1 or not label else place
            dashes = DASHES[place % len(DASHES)] if len(drawn) > 1 and label else "-"
            lines.append(Line(curves.series[name], label, PALETTE[tint % len(PALETTE)], dashes))
    return lines


def _draw_panel(axes: Axes, panel: Panel, drawn: Drawn) -> None:
    lines = _lines(panel, drawn)
    values = [value for line in lines for value in line.series.value if math.isfinite(value)]
    if panel.logarithmic and values and min(values) > 0 and max(values) > 50 * min(values):
        axes.set_yscale("log")
    for line in lines:
        _draw_line(axes, line, faint=len(panel.series) > MOST_LINES)
    shown = percent if panel.fraction else number
    axes.set_title(panel.title)
    axes.set_xlabel("hyperiteration", loc="right")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    axes.margins(x=0.02)
    if panel.fraction:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    if len(drawn) == 1 and len(lines) == 1:
        axes.set_title(shown(lines[0].series.value[-1]), loc="right", color=PALETTE[0], fontsize=10)
    labelled = {line.label: line for line in lines if line.label}
    if labelled:
        alone = len(drawn) == 1
        keys = [
            Line2D([], [], color=line.colour if alone else FAINT, linestyle=line.dashes, linewidth=1.8)
            for line in labelled.values()
        ]
        newest = [f"   {shown(line.series.value[-1])}" if alone else "" for line in labelled.values()]
        axes.legend(keys, [label + value for label, value in zip(labelled, newest, strict=True)], handlelength=1.6)


def _draw_line(axes: Axes, line: Line, *, faint: bool) -> None:
    series = line.series
    finite = [math.isfinite(value) for value in series.value]
    few = sum(finite) <= MARKED and not faint
    axes.plot(
        series.step,
        [value if drawable else math.nan for value, drawable in zip(series.value, finite, strict=True)],
        color=line.colour,
        linestyle=line.dashes,
        linewidth=1.0 if faint or len(finite) > NOISY else 1.8,
        alpha=0.55 if faint else 0.95,
        marker="o" if few else "",
        markersize=3.6,
    )
    for step, drawable in zip(series.step, finite, strict=True):
        if not drawable:  # it has no height: it is marked at the upper edge
            axes.plot(step, 0.97, "x", color=ALARM, transform=axes.get_xaxis_transform(), markersize=6, clip_on=False)
    for step in _seams(series):
        axes.axvline(step, color=FAINT, linewidth=0.8, linestyle=(0, (2, 3)), zorder=0)


def _seams(series: Series) -> Iterator[int]:
    """Hyperiterations at which another attempt went on."""
    attempts = series.attempt or []
    for step, before, after in zip(series.step[1:], attempts, attempts[1:], strict=False):
        if after > before:
            yield step


def _label(name: str) -> str:
    """The short name of a series: validation of validation/accuracy, 0 of outer/rate/0."""
    first, _, rest = name.partition("/")
    if first != "outer":
        return LABELS.get(first, first)
    family = _family(name)
    return rest.removeprefix(family).lstrip("_/").replace("_", " ") or rest


def _name(record: Record, longest: int) -> str:
    return cut(str(record["name"]).replace("$", r"\$"), longest)


def _title(figure: Figure, drawn: Drawn) -> None:
    if len(drawn) > 1:
        _write(figure, 0.16, f"{len(drawn)} experiments", fontsize=14, fontweight="bold")
        keys = [Line2D([], [], color=PALETTE[number % len(PALETTE)], linewidth=2.4) for number in range(len(drawn))]
        names = [f"{_name(record, 40)} ({record['id'][:4]})" for record, _ in drawn]
        place = (0.06 / figure.get_figwidth(), 1 - 0.40 / figure.get_figheight())
        figure.legend(keys, names, loc="upper left", bbox_to_anchor=place, ncols=4, handlelength=1.4)
        return
    record = drawn[0][0]
    progress = record["progress"]
    algorithm = record["spec"]["algorithm"]
    facts = (
        record["spec"]["problem"]["kind"].replace("_", " "),
        _method(algorithm),
        f"{progress['hyperiteration']} of {progress['hyperiterations']} hyperiterations",
        record["status"],
        record["id"][:8],
    )
    _write(figure, 0.16, _name(record, 80), fontsize=14, fontweight="bold")
    _write(figure, 0.48, "   ·   ".join(facts), fontsize=9, color=FAINT)


def _method(algorithm: dict[str, Any]) -> str:
    """How the outer variables are found, in a few words."""
    if algorithm["kind"] == "nested":
        return f"{algorithm['hypergradient']['kind']} hypergradient, T = {algorithm['steps']}"
    return str(algorithm["kind"]).replace("_", " ")


def _write(figure: Figure, inches: float, text: str, **looks: Any) -> None:
    """Writes so many inches below the upper edge."""
    left, top = 0.16 / figure.get_figwidth(), 1 - inches / figure.get_figheight()
    figure.text(left, top, text, va="top", ha="left", **looks)
