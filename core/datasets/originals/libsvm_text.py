"""The text format of LIBSVM: a line an example, `label index:value ...` with indices from 1."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from core.datasets.prepared import Array
from core.errors import DataInvalid

Row = tuple[int, list[tuple[int, float]]]


def binary(name: str, path: Path, features: int) -> dict[str, Array]:
    """Arrays NAME_indices (from 0), NAME_indptr, NAME_shape and NAME_y of features that are all 0 or 1."""
    columns: list[int] = []
    starts, signs = [0], []
    for number, (sign, row) in enumerate(read_rows(path, features), 1):
        if any(value != 1 for _, value in row):
            raise DataInvalid(f"{path}, line {number}: a value is not 1, but the features of {name} are binary")
        columns.extend(column for column, _ in row)
        starts.append(len(columns))
        signs.append(sign)
    return {
        f"{name}_indices": np.array(columns, dtype=np.uint16),
        f"{name}_indptr": np.array(starts, dtype=np.int32),
        f"{name}_shape": np.array([len(signs), features], dtype=np.int32),
        f"{name}_y": np.array(signs, dtype=np.int8),
    }


def german(path: Path) -> dict[str, Array]:
    """Arrays german_X [n, 24] and german_y; features left out of a line are 0."""
    rows = list(read_rows(path, 24))
    x = np.zeros((len(rows), 24), dtype=np.float32)
    for example, (_, row) in enumerate(rows):
        for column, value in row:
            x[example, column] = value
    if np.abs(x).max(initial=0) > 1:
        raise DataInvalid(f"{path} has values outside [-1, 1]: take german.numer_scale, not german.numer")
    return {"german_X": x, "german_y": np.array([sign for sign, _ in rows], dtype=np.int8)}


def read_rows(path: Path, features: int) -> Iterator[Row]:
    """The examples as (label -1 or 1, [(column from 0, value), ...]).

    Raises:
        DataInvalid: a line is not in the format; the message says which.
    """
    try:
        lines = path.read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataInvalid(f"{path} is not a LIBSVM text file: {error}") from error
    for number, line in enumerate(lines, 1):
        label, *pairs = line.split() or [""]
        try:
            row = [(int(index) - 1, float(value)) for index, value in (pair.split(":") for pair in pairs)]
            sign = int(float(label))
        except ValueError as error:
            raise DataInvalid(f"{path}, line {number}: not `label index:value ...` ({error})") from error
        if sign not in (-1, 1) or any(not 0 <= column < features for column, _ in row):
            raise DataInvalid(f"{path}, line {number}: labels are -1 and 1, indices 1 to {features}")
        yield sign, row
