"""Draws the figures of docs/methods.md: `python -m benchmarks method_figures`; five to six minutes of one thread."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmarks import method_curves, method_runs
from benchmarks.method_curves import Line, Panel
from benchmarks.publish import made_with
from bilevel_client.commands.plotting import PALETTE, STYLE

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "methods"
Measure = Callable[[int], list[Panel]]
FIGURES: dict[str, Measure] = {
    "accuracy": method_curves.accuracy,
    "cost": method_curves.cost,
    "inner_dynamics": method_curves.inner_dynamics,
    "solvers": method_curves.solvers,
    "real_time": method_runs.real_time,
    "outer_step": method_runs.outer_step,
}
MARK = "<!-- below: written by python -m benchmarks method_figures -->"
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (6, 1.5, 1.2, 1.5)),
    (0, (9, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (2.5, 1)),
    (0, (1, 3)),
)


def publish(rounds: int) -> None:
    """Measures, draws and writes the page below its mark; what people have written above it stays."""
    torch.set_num_threads(1)
    found = {}
    for name, measure in FIGURES.items():
        found[name] = torch.no_grad()(measure)(rounds)
        draw(name, found[name])
        print(name, flush=True)
    path = RESULTS / "README.md"
    above = path.read_text().partition(MARK)[0]
    facts = ", ".join(f"{name} {value}" for name, value in made_with().items())
    sections = [f"\n## `{name}.png`\n\n" + "\n".join(map(_table, panels)) for name, panels in found.items()]
    path.write_text("\n".join([above + MARK, "", f"{facts}.", *sections]))


def draw(name: str, panels: Sequence[Panel]) -> None:
    """A panel beside the other, one legend on the right; a line has the same looks in all of them."""
    names = list(dict.fromkeys(line.name for panel in panels for line in panel.lines))
    looks = {name: {"color": PALETTE[i], "linestyle": DASHES[i]} for i, name in enumerate(names)}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4 * len(panels) + 2.4, 3.4), layout=ConstrainedLayoutEngine(w_pad=0.12))
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, panel in zip(grid, panels, strict=True):
            for line in panel.lines:
                axes.plot(line.x, line.y, label=line.name, linewidth=1.8, **looks[line.name])
                if line.low:
                    axes.fill_between(line.x, line.low, line.high, color=looks[line.name]["color"], alpha=0.15, lw=0)
            axes.set(title=panel.title, xlabel=panel.across, ylabel=panel.up)
            for which in panel.logarithmic:
                scale(axes, which)
            if panel.limits is not None:
                axes.set_ylim(panel.limits)
        drawn = {line.get_label(): line for axes in grid for line in axes.get_lines()}
        figure.legend(drawn.values(), drawn, loc="outside right upper", handlelength=3.2)
        figure.savefig(RESULTS / f"{name}.png", dpi=130)


def scale(axes: Axes, which: Literal["x", "y"]) -> None:
    """Logarithmic; plain numbers where it is short, powers of ten where it is long."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    if high < 2000 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 30 * low else (1,)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _table(panel: Panel) -> str:
    columns = [f"{x:g}" for x in panel.columns]
    lines = [
        f"{panel.title}: {panel.up.replace('$', '`').replace(chr(92), '')} by {panel.across}",
        "",
        "| | " + " | ".join(columns) + " |",
        "|" + "---|" * (1 + len(columns)),
        *(f"| {line.name} | " + " | ".join(_at(line, x) for x in panel.columns) + " |" for line in panel.lines),
    ]
    return "\n".join(lines) + "\n"


def _at(line: Line, x: float) -> str:
    """The value at x, or the last before it."""
    before = [y for each, y in zip(line.x, line.y, strict=True) if each <= x]
    past = x > line.x[-1]
    return f"{before[-1]:.3g}" if before and not past and math.isfinite(before[-1]) else ""
