"""Loads the data set of an installed package and holds what it gives to what its spec class says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.datasets.table import Table
from core.errors import DataInvalid, DataMissing
from core.spec.plugins import PluginTable, code_of


def load(dataset: PluginTable, data_dir: Path) -> Table:
    """What the package's code gives, class numbers as int64.

    Raises:
        DataMissing: a file that it reads is not there.
        DataInvalid: a file cannot be read, or the arrays are not what the spec class says.
    """
    try:
        table = code_of(dataset)(dataset, data_dir)
    except FileNotFoundError as error:
        raise DataMissing(
            f"{dataset.build} does not find what it reads in {data_dir}: {error}: put it there"
        ) from error
    except OSError as error:
        raise DataInvalid(
            f"{dataset.build} cannot read its data: {error}: make them readable for the worker"
        ) from error
    arrays: dict[str, Tensor] = {}
    for part in _parts(dataset, table):
        arrays[f"{part.prefix}x"], arrays[f"{part.prefix}y"] = _checked(dataset, part)
    return Table(**arrays)


class _Part(NamedTuple):
    """Features and targets, and what they go by."""

    x: Any
    y: Any
    prefix: str
    """Of the names in `Table`."""
    field: str
    """Of the spec class: how many examples there are."""


def _parts(dataset: PluginTable, table: Any) -> Iterator[_Part]:
    if not isinstance(table, Table):
        raise DataInvalid(f"{dataset.build} gives {type(table).__name__}: return core.datasets.table.Table(x, y)")
    yield _Part(table.x, table.y, "", "examples")
    for name, x, y in (("test", table.test_x, table.test_y), ("validation", table.validation_x, table.validation_y)):
        if getattr(dataset, f"{name}_examples") or x is not None or y is not None:
            yield _Part(x, y, f"{name}_", f"{name}_examples")


def _checked(dataset: PluginTable, part: _Part) -> tuple[Tensor, Tensor]:
    for array, name in ((part.x, f"{part.prefix}x"), (part.y, f"{part.prefix}y")):
        if not isinstance(array, Tensor):
            raise DataInvalid(f"{dataset.build} gives {type(array).__name__} as {name}: make it a torch.Tensor")
    x, y = part.x, part.y
    _check_sizes(dataset, part)
    _check_features(dataset, x, f"{part.prefix}x")
    return x, _targets(dataset, y, f"{part.prefix}y")


def _check_sizes(dataset: PluginTable, part: _Part) -> None:
    named, x, y = type(dataset).__name__, part.x, part.y
    if x.ndim != 2 or y.ndim != 1 or len(x) != len(y):
        raise DataInvalid(
            f"{dataset.build} gives {part.prefix}x of shape {list(x.shape)} and {part.prefix}y of shape "
            f"{list(y.shape)}: [n, {dataset.features}] and [n] are wanted"
        )
    for field, found in ((part.field, len(x)), ("features", x.shape[1])):
        if (said := getattr(dataset, field)) != found:
            raise DataInvalid(
                f"{dataset.build} gives {part.prefix}x of shape {list(x.shape)}, and {named} says {field} = {said}: "
                f"write {field} = {found} in {named}, or change what is loaded"
            )


def _check_features(dataset: PluginTable, x: Tensor, name: str) -> None:
    """Floating; NaN is a missing value, which a split fills with its training set's mean: some have to be there."""
    if x.dtype not in (torch.float32, torch.float64):
        raise DataInvalid(f"{dataset.build} gives {name} of {x.dtype}: convert it to torch.float32 or torch.float64")
    if (place := _first(x.isinf())) is not None:
        raise DataInvalid(_wrong(dataset, x, name, place, "leave the row out, or make it NaN where it is missing"))
    if (column := _first(x.isnan().all(0))) is not None:
        raise DataInvalid(f"{dataset.build} gives NaN in all of {name}[:, {column[0]}]: leave the feature out")


def _targets(dataset: PluginTable, y: Tensor, name: str) -> Tensor:
    if not dataset.classes:
        if not y.is_floating_point():
            advice = f"convert it with .double(), or write classes = ... in {type(dataset).__name__}"
            raise DataInvalid(f"{dataset.build} gives {name} of {y.dtype}, where the target is a number: {advice}")
        if (place := _first(~y.isfinite())) is not None:
            raise DataInvalid(_wrong(dataset, y, name, place, "leave the row out"))
        return y
    numbered = f"class numbers from 0 to {dataset.classes - 1}, as {type(dataset).__name__} says classes ="
    advice = f"{numbered} {dataset.classes}, are wanted: number them with torch.unique({name}, return_inverse=True)[1]"
    if y.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        raise DataInvalid(_wrong(dataset, y, name, (0,), f"{y.dtype}; whole numbers, {advice}"))
    if (place := _first((y < 0) | (y >= dataset.classes))) is not None:
        raise DataInvalid(_wrong(dataset, y, name, place, advice))
    return y.to(torch.int64)


def _first(wrong: Tensor) -> tuple[int, ...] | None:
    """Where the first true entry is."""
    places = wrong.nonzero()
    return tuple(places[0].tolist()) if len(places) else None


def _wrong(dataset: PluginTable, array: Tensor, name: str, place: tuple[int, ...], advice: str) -> str:
    value = array[place].item()
    return f"{dataset.build} gives {name}[{', '.join(map(str, place))}] = {value}: {advice}"
