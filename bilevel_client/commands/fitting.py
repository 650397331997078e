"""Tables that fit a terminal: what says which row it is stays whole, columns without room are left out and counted."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

EDGES, BETWEEN = 2, 3
"""Characters that a table takes at its edges, and between two columns."""
NARROWEST, LONGEST_WORD = 8, 20
"""A column that folds is at least as wide as its longest word, within these bounds."""


class Column(NamedTuple):
    """A column: its name, and what becomes of it where the terminal is too narrow."""

    name: str
    rank: int = 0
    """0: it is never left out; else those of the highest rank go first, of equals the last."""
    folds: bool = False
    """Whether a cell may take several lines; otherwise it is never cut."""


class Rows:
    """A table of which only those columns are shown that have room; where not even the first rank has, a list."""

    def __init__(self, *columns: Column | str) -> None:
        self._columns = [Column(each) if isinstance(each, str) else each for each in columns]
        self._rows: list[list[Text]] = []

    def add_row(self, *cells: str | Text) -> None:
        """Adds a row, one cell a column."""
        assert len(cells) == len(self._columns)
        self._rows.append([Text(cell) if isinstance(cell, str) else cell for cell in cells])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        everything = range(len(self._columns))
        names = [column.name for column in self._columns]
        if self._width(everything, names) > options.max_width:
            names = [name.replace(" ", "\n") for name in names]
        shown = self._shown(options.max_width, names)
        if shown is None:
            yield from self._listed()
            return
        yield self._table(options.max_width, shown, names)
        if left_out := [self._columns[each].name for each in everything if each not in shown]:
            yield Text(_note(left_out), "bright_black")

    def _shown(self, room: int, names: Sequence[str]) -> list[int] | None:
        """The columns for which there is room; None: there is not even for those that are never left out."""
        shown = list(range(len(self._columns)))
        going = sorted((self._columns[each].rank, each) for each in shown if self._columns[each].rank)
        while self._width(shown, names) > room:
            if not going:
                return None
            shown.remove(going.pop()[1])
        return shown

    def _width(self, shown: Sequence[int], names: Sequence[str]) -> int:
        widths = (self._narrowest(each, names[each]) for each in shown)
        return sum(widths) + BETWEEN * (len(shown) - 1) + EDGES

    def _whole(self, column: int, name: str) -> int:
        """Characters that a column takes where there is room."""
        cells = [name, *(row[column].plain for row in self._rows)]
        return max(cell_len(line) for cell in cells for line in cell.split("\n"))

    def _narrowest(self, column: int, name: str) -> int:
        """Characters that a column needs."""
        whole = self._whole(column, name)
        if not self._columns[column].folds:
            return whole
        words = [word for cell in (name, *(row[column].plain for row in self._rows)) for word in cell.split()]
        return min(whole, max(NARROWEST, min(max(map(cell_len, words), default=0), LONGEST_WORD)))

    def _table(self, room: int, shown: Sequence[int], names: Sequence[str]) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        spare = room - self._width(shown, names)  # goes to the columns that fold, from the left
        for each in shown:
            narrowest = self._narrowest(each, names[each])
            width = min(self._whole(each, names[each]), narrowest + spare)
            spare -= width - narrowest
            table.add_column(Text(names[each]), width=width, overflow="fold", no_wrap=not self._columns[each].folds)
        for row in self._rows:
            table.add_row(*(row[each] for each in shown))
        return table

    def _listed(self) -> Iterator[Text]:
        for row in self._rows:
            for column, cell in zip(self._columns, row, strict=True):
                if cell.plain:
                    yield Text.assemble((f"{column.name}  ", "bright_black"), cell)
            yield Text()


def new_facts() -> Table:
    """A table for names and what they stand for, without rows."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bright_black", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _note(left_out: Sequence[str]) -> str:
    count = len(left_out)
    columns = "1 column is" if count == 1 else f"{count} columns are"
    them = "it" if count == 1 else "them"
    return f"{columns} left out ({', '.join(left_out)}): a wider terminal or --json shows {them}."
