"""Tables of one's own: made ready from CSV files or numpy archives, and read."""

import contextlib
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from core.datasets.csv_rows import csv_rows
from core.datasets.own_files import arrays_path, check_sizes, facts_path, require_table
from core.datasets.prepared import Array, read, write
from core.datasets.table import Table
from core.errors import DataInvalid
from core.spec.datasets import OwnTable

MOST_CLASSES = 1000
"""Different targets above which a table without `regression` is taken for a mistake."""


class Added(NamedTuple):
    """What was made of a file."""

    dataset: OwnTable
    classes: Sequence[str]
    """The targets that became the classes 0, 1, ...; none where the target is a number."""


class _Cells(NamedTuple):
    """Features [n, d], whose missing values are NaN, and targets [n] as they are in the file."""

    x: Array
    y: Array
    names: Sequence[str] | None = None
    """Of the features, where the file has any."""


def add(
    name: str,
    file: Path,
    data_dir: Path,
    *,
    test: Path | None = None,
    validation: Path | None = None,
    target: str | None = None,
    regression: bool = False,
) -> Added:
    """Makes a table ready under a name, whole or not at all; an older one of that name is replaced.

    Args:
        name: what specs call it.
        file: a CSV file with a header, or an npz file with arrays X [n, d] and y [n].
        data_dir: folder of data sets.
        test: a file of the same form, for a test set of its own.
        validation: a file of the same form, for a validation set of its own, such as examples whose labels are trusted.
        target: column of the target in a CSV file; by default the last one.
        regression: whether the target is a number; otherwise its values are classes, sorted, as numbers where all are.

    Raises:
        DataInvalid: a file is not of that form; the message names the line or array. Nothing was written.
    """
    given = {"": file, "validation_": validation, "test_": test}
    files = {part: path for part, path in given.items() if path is not None}
    parts = {part: _cells(path, target) for part, path in files.items()}
    for part, path in files.items():
        if not len(parts[part].x):
            raise DataInvalid(f"{path} has no examples: leave it out, or give one with some")
        _check_same_features(path, parts[part], file, parts[""])
    classes: Sequence[str] = ()
    if regression:
        targets = [_numbers(path, parts[part].y) for part, path in files.items()]
    else:
        classes, targets = _labelled(file, [cells.y for cells in parts.values()])
    arrays: dict[str, Array] = {}
    for (part, cells), wanted in zip(parts.items(), targets, strict=True):
        arrays |= {f"{part}X": cells.x, f"{part}y": wanted}
    dataset = _dataset(name, arrays, len(classes), str(file))
    _write(dataset, arrays, data_dir)
    return Added(dataset, classes)


def load(dataset: OwnTable, data_dir: Path) -> Table:
    """Features in float64, as they are in the file; a missing value is NaN.

    Raises:
        DataMissing: no table of that name was added.
        DataInvalid: the file is damaged, or not of the sizes that the spec gives.
    """
    require_table(dataset, data_dir)
    sizes = {"": dataset.rows, "validation_": dataset.validation_rows, "test_": dataset.test_rows}
    there = [part for part, size in sizes.items() if size]
    path = arrays_path(dataset.name, data_dir)
    wanted = {f"{part}{name}": shape for part in there for name, shape in (("X", (None, None)), ("y", (None,)))}
    arrays = read(path, wanted)
    check_sizes(dataset, _dataset(dataset.name, arrays, dataset.labels, str(path)))
    return Table(**{name.lower(): torch.from_numpy(array) for name, array in arrays.items()})


def _dataset(name: str, arrays: Mapping[str, Array], classes: int, file: str) -> OwnTable:
    rows, columns = arrays["X"].shape
    own = {f"{part}_rows": len(arrays.get(f"{part}_X", ())) for part in ("validation", "test")}
    try:
        return OwnTable.model_validate({"name": name, "rows": rows, "columns": columns, "labels": classes, **own})
    except ValueError as error:
        raise DataInvalid(f"{file} has {rows} rows, {columns} features: {error}") from error


def _write(dataset: OwnTable, arrays: Mapping[str, Array], data_dir: Path) -> None:
    path, facts = arrays_path(dataset.name, data_dir), facts_path(dataset.name, data_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".adding-") as staging:
        staged = Path(staging, path.name)
        write(staged, arrays)
        Path(staging, facts.name).write_text(dataset.model_dump_json(), encoding="utf-8")
        facts.unlink(missing_ok=True)  # between the two files the table is missing, not another
        os.replace(staged, path)
        os.replace(Path(staging, facts.name), facts)


def _cells(path: Path, target: str | None) -> _Cells:
    if path.suffix == ".npz":
        arrays = read(path, {"X": (None, None), "y": (None,)})
        x, y = arrays["X"], arrays["y"]
        if len(x) != len(y) or x.dtype.kind not in "fiub":
            raise DataInvalid(f"{path}: X has {len(x)} rows of {x.dtype}, y {len(y)}: as many, and X of numbers")
        return _Cells(_finite(path, x.astype(np.float64)), y)
    return _csv(path, target)


def _csv(path: Path, target: str | None) -> _Cells:
    (_, named), *rows = csv_rows(path)
    header = [name.strip() for name in named]
    if target is not None and target not in header:
        raise DataInvalid(f"{path} has no column `{target}`: its header has {', '.join(header)}")
    place = len(header) - 1 if target is None else header.index(target)
    features, targets = np.empty((len(rows), len(header) - 1)), []
    for number, (line, row) in enumerate(rows):
        if len(row) != len(header):
            raise DataInvalid(f"{path}, line {line}: {len(row)} cells, not {len(header)} as in the header")
        cells = [(name, cell.strip()) for name, cell in zip(header, row, strict=True)]
        _, wanted = cells.pop(place)
        if not wanted:
            raise DataInvalid(f"{path}, line {line}: no target in column `{header[place]}`")
        targets.append(wanted)
        features[number] = [_number(path, line, name, cell) for name, cell in cells]
    names = [name for number, name in enumerate(header) if number != place]
    return _Cells(_finite(path, features), np.array(targets, dtype=np.str_), names)


def _check_same_features(path: Path, found: _Cells, first: Path, wanted: _Cells) -> None:
    if found.x.shape[1] != wanted.x.shape[1]:
        raise DataInvalid(f"{path} has {found.x.shape[1]} features, {first} has {wanted.x.shape[1]}")
    if found.names and wanted.names and found.names != wanted.names:
        here, there = next(pair for pair in zip(found.names, wanted.names, strict=True) if pair[0] != pair[1])
        raise DataInvalid(f"{path} has the column `{here}` where {first} has `{there}`: give both the same columns")


def _number(path: Path, line: int, name: str, cell: str) -> float:
    try:
        return float(cell or "nan")
    except ValueError:
        raise DataInvalid(
            f"{path}, line {line}, column `{name}`: `{cell}` is not a number: write classes of a feature as columns of "
            "0 and 1, and leave a cell empty where its value is missing"
        ) from None


def _finite(path: Path, x: Array) -> Array:
    rows, columns = np.nonzero(np.isinf(x))
    if len(rows):
        raise DataInvalid(f"{path}: example {rows[0]}, feature {columns[0]} (counted from 0) is infinite")
    if (empty := np.isnan(x).all(0)).any() and len(x):
        raise DataInvalid(f"{path}: feature {np.argmax(empty)} (counted from 0) has no value: leave it out")
    return x


def _numbers(path: Path, y: Array) -> Array:
    try:
        found: Array = y.astype(np.float64)
    except ValueError as error:
        said = re.sub(r"np\.str_\((.*)\)", r"\1", str(error))
        raise DataInvalid(f"{path}: a target is not a number ({said}): leave out --regression for classes") from error
    if not np.isfinite(found).all():
        raise DataInvalid(f"{path}: the target of example {np.argmin(np.isfinite(found))} (from 0) is not finite")
    return found


def _labelled(path: Path, targets: Sequence[Array]) -> tuple[list[str], list[Array]]:
    """The classes in order, and each part's class numbers."""
    words = np.concatenate([y.astype(np.str_) for y in targets])
    values: Array = words
    with contextlib.suppress(ValueError):
        values = words.astype(np.float64)
    _, first, numbers = np.unique(values, return_index=True, return_inverse=True)
    if not 2 <= len(first) <= MOST_CLASSES:
        raise DataInvalid(
            f"{path}: the target has {len(first)} different values, and classes are 2 to {MOST_CLASSES}: "
            "give --regression where it is a number"
        )
    ends = np.cumsum([len(y) for y in targets])[:-1]
    return [str(word) for word in words[first]], [part.astype(np.int64) for part in np.split(numbers, ends)]
