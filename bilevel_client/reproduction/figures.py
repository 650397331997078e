"""Figures of reports: lines over hyperiterations or another quantity, with bands over seeds."""

import math
import statistics
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from bilevel_client.commands.plotting import INK, MARKED, STYLE, looks
from bilevel_client.records import Series

SIZE = (7.6, 3.9)
LEGEND = 28
"""Characters of a line of the legend."""
MARGINS = 0.6
"""Inches above and below a legend that is as high as the figure."""
STEPS = (1, 2, 5, 10)
"""Between ticks, times a power of ten."""
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")
PER_CENT = FuncFormatter(lambda value, _: f"{100 * value:g} %")


class Band(NamedTuple):
    """Mean and spread of a quantity over seeds, along an axis."""

    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def over_seeds(curves: Sequence[Series]) -> Band:
    """Mean, least and greatest over seeds at the hyperiterations that all of them have."""
    shared = sorted(set.intersection(*(set(curve.step) for curve in curves))) if curves else []
    at = [dict(zip(curve.step, curve.value, strict=True)) for curve in curves]
    values = [[curve[step] for curve in at] for step in shared]
    return banded(shared, values)


def banded(x: Iterable[float], values: Sequence[Sequence[float]]) -> Band:
    """Mean, least and greatest of the values at each place."""
    mean, low, high = ([measure(each) for each in values] for measure in (statistics.fmean, min, max))
    return Band([float(place) for place in x], mean, low, high)


def complement(bands: Mapping[str, Band]) -> dict[str, Band]:
    """Errors for accuracies: near 100 % only these can be told apart."""
    return {
        name: Band(band.x, *([1 - value for value in values] for values in (band.mean, band.high, band.low)))
        for name, band in bands.items()
    }


def lines(
    bands: Mapping[str, Band],
    *,
    title: str,
    y: str,
    x: str = "hyperiteration",
    fraction: bool = False,
    logarithmic: bool = False,
    logarithmic_x: bool = False,
    below: float | None = None,
) -> Figure:
    """One line for each name, with its spread where there are several seeds.

    `fraction`: in per cent; `below`: the axis ends so far below the highest value, whatever lies lower.
    """
    with mpl.rc_context(STYLE):
        # It is saved where STYLE no longer holds, hence its resolution.
        figure = Figure(figsize=SIZE, dpi=STYLE["savefig.dpi"], layout="constrained")
        axes = figure.subplots()
        for (name, band), (colour, dashes) in zip(bands.items(), _looks(list(bands)), strict=True):
            _line(axes, name, band, colour, dashes)
        axes.set_title(title)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        if logarithmic and all(value > 0 for band in bands.values() for value in band.mean if math.isfinite(value)):
            axes.set_yscale("log")
            _few_ticks(axes)
        if below is not None:
            highest = max(value for band in bands.values() for value in band.high)
            axes.set_ylim(max(axes.get_ylim()[0], highest - below), highest + below / 20)
        if fraction:
            axes.yaxis.set_major_formatter(PER_CENT)
        if logarithmic_x:
            axes.set_xscale("log", base=2)
            axes.set_xticks(sorted({value for band in bands.values() for value in band.x}))
            axes.xaxis.set_major_formatter(PLAIN)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=STEPS))
        several = any(band.low != band.high for band in bands.values())
        spread = "mean and range\nover seeds" if several else None
        legend = axes.legend(
            loc="upper left", bbox_to_anchor=(1, 1), title=spread, title_fontsize=8.5, alignment="left"
        )
        high = legend.get_window_extent().height / figure.dpi + MARGINS
        figure.set_figheight(max(SIZE[1], high))
        return figure


def _few_ticks(axes: Axes) -> None:
    """Of a logarithmic axis: within a decade those of a linear one, over many powers of ten, else 1, 2, 5, 10, ..."""
    low, high = axes.get_ylim()
    short, long = high < 10 * low, high > 1000 * low
    few = MaxNLocator(8, steps=STEPS) if short else LogLocator(subs=(1,) if long else (1, 2, 5))
    axes.yaxis.set_major_locator(few)
    axes.yaxis.set_minor_locator(NullLocator())
    if not long:
        axes.yaxis.set_major_formatter(PLAIN)


def _looks(names: Sequence[str]) -> Sequence[tuple[Any, str]]:
    """Colour and dashes of each: ever darker for `T = 1`, `T = 4`, ..., and dashed ink for others beside them.

    Names without an order have the colours of the palette, which begin again with dashes.
    """
    ordered = [name for name in names if " = " in name]
    if not ordered:
        return [looks(number) for number in range(len(names))]
    shade = mpl.colormaps["plasma_r"]
    return [
        (shade(0.1 + 0.9 * (ordered.index(name) + 1) / len(ordered)), "-") if name in ordered else (INK, "--")
        for name in names
    ]


def _line(axes: Axes, name: str, band: Band, colour: Any, dashes: str) -> None:
    label, marker = textwrap.fill(name, LEGEND, break_long_words=False), "o" if len(band.x) <= MARKED else ""
    axes.plot(band.x, band.mean, dashes, color=colour, label=label, linewidth=1.7, marker=marker, markersize=3.5)
    if band.low != band.high:
        axes.fill_between(band.x, band.low, band.high, color=colour, alpha=0.15, linewidth=0)
