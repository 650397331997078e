"""A series of a sweep as a picture: a line a cell, mean and range over its seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bilevel_client.commands.panels import panel_of
from bilevel_client.commands.plotting import STYLE, plain_text, spans_decades
from bilevel_client.commands.sweep_tables import short_names
from bilevel_client.grids import shown
from bilevel_client.records import Record, Series
from bilevel_client.reproduction.figures import Band, lines, over_seeds

LONGEST_TITLE = 60
"""Characters for which there is room above the lines."""


def draw(path: Path, record: Record, name: str, curves: Mapping[int, Series]) -> None:
    """Draws the series of this name into a file, whose name says the format; the arguments are those of `picture`."""
    with mpl.rc_context(STYLE):
        picture(record, name, curves).savefig(path)


def picture(record: Record, name: str, curves: Mapping[int, Series]) -> Figure:
    """The lines of the cells that have some curve.

    Args:
        record: the sweep's.
        name: of the series.
        curves: the series of members, by their number.
    """
    panel = panel_of(name)
    bands = _bands(record["cells"], curves)
    values = [value for band in bands.values() for value in (*band.low, *band.high)]
    logarithmic = panel.logarithmic and spans_decades(values)
    title = plain_text(record["name"], LONGEST_TITLE)
    return lines(bands, title=title, y=panel.title, fraction=panel.fraction, logarithmic=logarithmic)


def _bands(cells: Sequence[Mapping[str, Any]], curves: Mapping[int, Series]) -> dict[str, Band]:
    bands = {}
    for name, cell in zip(_names(cells), cells, strict=True):
        own = [curves[member] for member in cell["members"] if member in curves]
        if own:
            some = "" if len(own) == cell["seeds"] else f" ({len(own)} of {cell['seeds']} seeds)"
            bands[name + some] = over_seeds(own)
    return bands


def _names(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Cells by the parameters in which they differ; `steps = 4` where it is one of numbers: colours have an order."""
    paths = cells[0]["parameters"]
    differing = [path for path in paths if any(cell["parameters"][path] != paths[path] for cell in cells)]
    values = [[cell["parameters"][path] for path in differing] for cell in cells]
    ordered = len(differing) == 1 and all(isinstance(value, int | float) for (value,) in values)
    sign = " = " if ordered else "="
    names = short_names(differing).values()
    return [
        ", ".join(f"{name}{sign}{shown(value)}" for name, value in zip(names, each, strict=True)) or "all seeds"
        for each in values
    ]
