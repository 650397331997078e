"""Splits a table into training, validation and test set, by seed alone."""

from typing import NamedTuple

import torch
from torch import Tensor

from core.bilevel.randomness import stream
from core.datasets.table import Table


class Examples(NamedTuple):
    """Features [n, d] and targets [n]."""

    x: Tensor
    y: Tensor


class Split(NamedTuple):
    """Disjoint sets of examples, without missing values."""

    train: Examples
    validation: Examples
    test: Examples


class Rows(NamedTuple):
    """Rows of the data set that the sets are of, int64, in their order; of its own set where it has one."""

    train: Tensor
    validation: Tensor
    test: Tensor


def split_table(table: Table, *, train: int, validation: int, test: int, seed: int) -> Split:
    """Draws the sets without replacement, uniformly; those for validation and test from the data set's own if it has.

    Missing values (NaN) become the training set's mean of their feature, in all three sets; 0 where it has none there.

    Raises:
        ValueError: the table has fewer examples than asked for.
    """
    return take_rows(table, draw_rows(table, train=train, validation=validation, test=test, seed=seed))


def draw_rows(table: Table, *, train: int, validation: int, test: int, seed: int) -> Rows:
    """The rows of each set of `split_table`, which says what is raised."""
    sizes = {"train": train, "validation": validation, "test": test}
    own = {name: len(part.x) for name in sizes if (part := _own(table, name)) is not None}
    drawn = sum(size for name, size in sizes.items() if name not in own)
    if min(sizes.values()) < 1 or drawn > len(table.x) or any(sizes[name] > count for name, count in own.items()):
        apart = "".join(f" and {count} {name} examples" for name, count in own.items())
        raise ValueError(
            f"train = {train}, validation = {validation}, test = {test}: each has to be at least 1, and the data "
            f"set has {len(table.x)} examples{apart}: lower them"
        )
    order, begin, rows = torch.randperm(len(table.x), generator=stream(seed, "split")), 0, {}
    for name, size in sizes.items():
        if name in own:
            rows[name] = torch.randperm(own[name], generator=stream(seed, "split", name))[:size]
        else:
            rows[name] = order[begin : begin + size]
            begin += size
    return Rows(**rows)


def take_rows(table: Table, rows: Rows) -> Split:
    """The examples of the rows, missing values filled as `split_table` says."""
    pools = {name: _own(table, name) or Examples(table.x, table.y) for name in Rows._fields}
    return _fill(Split(**{name: _take(pools[name], drawn) for name, drawn in rows._asdict().items()}))


def _own(table: Table, name: str) -> Examples | None:
    """The data set's own validation or test set; None: it has none."""
    x, y = getattr(table, f"{name}_x", None), getattr(table, f"{name}_y", None)
    return None if x is None or y is None else Examples(x, y)


def _take(pool: Examples, rows: Tensor) -> Examples:
    return Examples(pool.x[rows], pool.y[rows])


def _fill(split: Split) -> Split:
    mean = split.train.x.nanmean(0).nan_to_num(nan=0.0)
    train, validation, test = (Examples(torch.where(part.x.isnan(), mean, part.x), part.y) for part in split)
    return Split(train, validation, test)


class Scaling(NamedTuple):
    """Shifts and scales of features [d]."""

    mean: Tensor
    factor: Tensor
    """What the difference to the mean is multiplied by; 0 for a feature that is constant."""

    def apply(self, x: Tensor) -> Tensor:
        """Features with mean 0 and deviation 1 on the training set; a constant one becomes 0."""
        return (x - self.mean) * self.factor

    @property
    def scale(self) -> Tensor:
        """What the difference to the mean is divided by; infinite for a feature that is constant."""
        return self.factor.reciprocal()

    def undo(self, x: Tensor) -> Tensor:
        """Features in their own units; a constant one becomes its mean."""
        mean, factor = self.mean.to(x), self.factor.to(x)
        return mean + x * torch.where(factor > 0, factor.reciprocal(), 0)


def scaling(split: Split) -> Scaling:
    """Of the training set."""
    mean = split.train.x.mean(0)
    deviation = split.train.x.std(0, correction=0)
    return Scaling(mean, torch.where(deviation > 1e-7 * mean.abs(), deviation.reciprocal(), 0))


def standardize(split: Split) -> Split:
    """Shifts and scales each feature to mean 0 and deviation 1 on the training set; a constant one becomes 0."""
    scales = scaling(split)
    train, validation, test = (Examples(scales.apply(part.x), part.y) for part in split)
    return Split(train, validation, test)


def convert(split: Split, *, dtype: torch.dtype, device: torch.device | str = "cpu") -> Split:
    """The same split with features (and targets that are numbers) in `dtype`, on `device`."""

    def target(y: Tensor) -> Tensor:
        return y.to(device, dtype if y.is_floating_point() else torch.int64)

    train, validation, test = (Examples(part.x.to(device, dtype), target(part.y)) for part in split)
    return Split(train, validation, test)
