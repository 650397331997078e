"""The rows of a CSV file."""

import csv
from pathlib import Path
from typing import NamedTuple

from core.errors import DataInvalid


class Row(NamedTuple):
    """A row that is not blank."""

    line: int
    """Where it ends in the file, counted from 1."""
    cells: list[str]


def csv_rows(path: Path) -> list[Row]:
    """All rows but blank ones, in their order; at least one.

    Raises:
        DataInvalid: it is not text in UTF-8 that reads as CSV, or has no row.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            rows = [Row(reader.line_num, cells) for cells in reader if cells]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataInvalid(f"{path} is not a CSV file: {error}") from error
    if not rows:
        raise DataInvalid(f"{path} is empty")
    return rows
