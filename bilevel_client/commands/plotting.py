"""Curves as a picture: one panel a quantity, one colour an experiment or a series."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bilevel_client.client import Curves, Record, Series
from bilevel_client.commands.comparing import common_name, names_apart
from bilevel_client.commands.numbers import cut, in_order, number, percent
from bilevel_client.commands.panels import MOST_LINES, Panel, apart, label, panels, thresholds

Drawn = Sequence[tuple[Record, Curves]]

PALETTE = ("#3b6fd4", "#e07b39", "#2a9d78", "#b5489b", "#8a6fd1", "#c9a227", "#4aa8c9", "#7d5a3c")
Dashes = Literal["-", "--", ":", "-."]
DASHES: tuple[Dashes, ...] = ("-", "--", ":", "-.")
INK, FAINT, GRID, ALARM = "#23272e", "#7a828e", "#e7e9ed", "#d1495b"
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.formatter.useoffset": False,
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
"""Inches for the title of one experiment."""
LEGEND = 0.52
"""Inches above the legend of several."""
BELOW = 0.12
"""Inches below it."""
MARGIN = 0.16
"""Inches at the left and right of titles."""
CHARACTERS = 12
"""Of a legend that are sure to fit into an inch."""
MOST_COLUMNS = 6
"""Columns of a legend."""
NOISY = 200
"""Points from which a line is thin."""
MARKED = 40
"""Points up to which each is marked."""


def draw(path: Path, drawn: Drawn) -> None:
    """Draws the curves of experiments into a file, whose name says the format."""
    with mpl.rc_context(STYLE):
        picture(drawn).savefig(path)


def picture(drawn: Drawn) -> Figure:
    """The panels below a title and, of several experiments, a legend."""
    shown = list(panels(in_order({name for _, curves in drawn for name in curves.series})))
    if len(drawn) > 1:
        most = 1 if len(drawn) > len(PALETTE) else len(DASHES)
        shown = [each for panel in shown for each in (apart(panel) if len(panel.series) > most else (panel,))]
    columns = _columns(len(shown))
    rows = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows + HEAD))
    head = _title(figure, drawn)
    rest = 1 - head / figure.get_figheight()
    spaces: Any = {"w_pad": 0.12, "h_pad": 0.12, "wspace": 0.04, "hspace": 0.06}
    figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0, 0, 1, rest), **spaces))
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, place in zip(shown, axes, strict=False):
        _draw_panel(place, panel, drawn)
    for place in axes[: max(len(shown) - columns, 0)]:
        place.set_xlabel("")
    for place in axes[len(shown) :]:
        place.set_axis_off()
    return figure


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
    """One experiment: a colour for each series. Several: a colour for each experiment, dashes for each series or, where
    the panel has one series, for the experiments after those that have used up the colours.

    Series that are too many to be told apart are a bundle of one colour.
    """
    lines = []
    for experiment, (_, curves) in enumerate(drawn):
        for place, name in enumerate(panel.series):
            if name not in curves.series:
                continue
            text = label(name) if 1 < len(panel.series) <= MOST_LINES else ""
            if len(drawn) > 1:
                colour, dashes = looks(experiment)
                dashes = DASHES[place % len(DASHES)] if text else dashes
            else:
                colour, dashes = PALETTE[place % len(PALETTE) if text else 0], "-"
            lines.append(Line(curves.series[name], text, colour, dashes))
    return lines


def looks(experiment: int) -> tuple[str, Dashes]:
    """Colour and dashes of one of several experiments: other dashes after each round of the colours."""
    rounds, place = divmod(experiment, len(PALETTE))
    return PALETTE[place], DASHES[rounds % len(DASHES)]


def _draw_panel(axes: Axes, panel: Panel, drawn: Drawn) -> None:
    lines = _lines(panel, drawn)
    limits = thresholds(panel, [record["spec"] for record, _ in drawn])
    if panel.logarithmic and spans_decades([value for line in lines for value in line.series.value] + limits):
        axes.set_yscale("log")
    for line in lines:
        _draw_line(axes, line, faint=len(panel.series) > MOST_LINES)
    for limit in limits:
        axes.axhline(limit, color=ALARM, linewidth=0.8, alpha=0.7, zorder=1)
        place = axes.get_yaxis_transform()
        axes.text(1, limit, "threshold", transform=place, ha="right", va="bottom", fontsize=7.5, color=ALARM)
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
        axes.legend(
            keys,
            [label + value for label, value in zip(labelled, newest, strict=True)],
            handlelength=1.6 if alone else 2.6,
        )


def spans_decades(values: Iterable[float]) -> bool:
    """Whether the finite ones among the values need a logarithmic axis, and can have one."""
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) > 50 * min(finite)


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


def plain_text(text: str, longest: int) -> str:
    """Text that is not read as a formula."""
    return cut(text, longest).replace("$", r"\$")


def _title(figure: Figure, drawn: Drawn) -> float:
    """Writes the title above the panels, for which the figure grows where it has to.

    Returns:
        the inches that it takes.
    """
    records = [record for record, _ in drawn]
    if len(records) > 1:
        return _title_of_several(figure, records)
    record = records[0]
    progress = record["progress"]
    algorithm = record["spec"]["algorithm"]
    facts = (
        record["spec"]["problem"]["kind"].replace("_", " "),
        _method(algorithm),
        f"{progress['hyperiteration']} of {progress['hyperiterations']} hyperiterations",
        record["status"],
        record["id"][:8],
    )
    _write(figure, 0.16, plain_text(record["name"], 80), fontsize=14, fontweight="bold")
    _write(figure, 0.48, "   ·   ".join(facts), fontsize=9, color=FAINT)
    return HEAD


def _title_of_several(figure: Figure, records: Sequence[Record]) -> float:
    """The name that they share, and a legend of as many columns as there is room for."""
    width = figure.get_figwidth()
    keys = [
        Line2D([], [], color=colour, linestyle=dashes, linewidth=2)
        for colour, dashes in map(looks, range(len(records)))
    ]
    names = [plain_text(name, int(CHARACTERS * width)) for name in names_apart(records)]
    options: Any = {"loc": "upper left", "handlelength": 2.6, "borderaxespad": 0, "borderpad": 0}
    for columns in range(min(len(names), MOST_COLUMNS), 0, -1):
        legend = figure.legend(keys, names, ncols=columns, **options)
        size = legend.get_window_extent()
        if size.width / figure.dpi <= width - 2 * MARGIN or columns == 1:
            break
        legend.remove()
    head = LEGEND + size.height / figure.dpi + BELOW
    figure.set_figheight(figure.get_figheight() - HEAD + head)
    legend.set_bbox_to_anchor((MARGIN / width, 1 - LEGEND / figure.get_figheight()))
    name = common_name(records)
    title = f"{len(records)} experiments"
    _write(figure, 0.16, f"{plain_text(name, 80)}: {title}" if name else title, fontsize=14, fontweight="bold")
    return head


def _method(algorithm: dict[str, Any]) -> str:
    """How the outer variables are found, in a few words."""
    if algorithm["kind"] == "nested":
        return f"{algorithm['hypergradient']['kind']} hypergradient, T = {algorithm['steps']}"
    return str(algorithm["kind"]).replace("_", " ")


def _write(figure: Figure, inches: float, text: str, *, fontsize: float, **looks: Any) -> None:
    """Writes so many inches below the upper edge, in smaller letters where there is no room for the text."""
    left, top = MARGIN / figure.get_figwidth(), 1 - inches / figure.get_figheight()
    written = figure.text(left, top, text, va="top", ha="left", fontsize=fontsize, **looks)
    width, room = written.get_window_extent().width, (1 - 2 * left) * figure.bbox.width
    if width > room:
        written.set_fontsize(0.97 * fontsize * room / width)  # small letters are a little wider than in proportion
