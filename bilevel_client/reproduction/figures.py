"""Figures of reports: lines over hyperiterations with bands over seeds, and points with intervals."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bilevel_client.commands.plotting import PALETTE, STYLE
from bilevel_client.records import Series

SIZE = (6.4, 3.9)


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
    return Band(
        [float(step) for step in shared],
        [statistics.fmean(each) for each in values],
        [min(each) for each in values],
        [max(each) for each in values],
    )


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
) -> Figure:
    """One line for each name, with its spread where there are several seeds; `fraction`: in per cent."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        for number, (name, band) in enumerate(bands.items()):
            _line(axes, name, band, number)
        axes.set_title(title)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        if logarithmic and all(value > 0 for band in bands.values() for value in band.mean if math.isfinite(value)):
            axes.set_yscale("log")
        if logarithmic_x:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        if fraction:
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
            axes.yaxis.set_minor_formatter(FuncFormatter(_few_percent))
        axes.legend()
        return figure


def _few_percent(value: float, _: int | None) -> str:
    """Labels of the ticks 2 and 5 between powers of ten, where the axis is logarithmic."""
    percent = 100 * value
    return f"{percent:g} %" if f"{percent:e}"[0] in "25" else ""


def _line(axes: Axes, name: str, band: Band, number: int) -> None:
    """The colours begin again with dashes."""
    again, place = divmod(number, len(PALETTE))
    colour, dashes, marker = PALETTE[place], "--" if again else "-", "o" if len(band.x) <= 40 else ""
    axes.plot(band.x, band.mean, dashes, color=colour, label=name, linewidth=1.7, marker=marker, markersize=3.5)
    if band.low != band.high:
        axes.fill_between(band.x, band.low, band.high, color=colour, alpha=0.15, linewidth=0)
