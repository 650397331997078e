"""The assumptions of the convergence theorem, as a table for a terminal: before a run and after it."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

COLOURS = {
    "by construction": "green",
    "met on measurement": "green",
    "measured": "yellow",
    "not measured": "yellow",
    "not known": "yellow",
    "undecided": "yellow",
    "not met on measurement": "red",
    "not met": "red",
}


def assumption_table(entries: Sequence[Mapping[str, Any]]) -> Table:
    """One assumption a line: its name, whether it is met, and why; a newer service may have words not known here."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("assumption", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("", overflow="fold")
    for each in entries:
        table.add_row(each["name"], Text(each["status"], COLOURS.get(each["status"], "")), each["reason"])
    return table
