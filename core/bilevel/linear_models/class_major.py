"""The data of a linear model in the layout that costs least: classes first, rows in chunks.

A chunk of the features stays in the cache between its two products in a gradient step, and what belongs to a class is
contiguous. For small data it is one chunk, without the leading axis.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

CHUNK_BYTES = 3 << 19
"""Of features; measured best between 1 and 3 MiB."""


@dataclass(frozen=True, eq=False)
class ClassMajor:
    """Features and targets of n examples in k chunks of m rows (no leading axis where k = 1)."""

    x: Tensor
    """[k, m, d]; rows of zeros fill up the last chunk."""
    y: Tensor
    """Targets [k, C, m]."""
    share: Tensor
    """1 / n for every row, [k, 1, m]; 0 for those that fill up."""

    @cached_property
    def single(self) -> "ClassMajor":
        """The same data in single precision; itself where they are."""
        if self.x.dtype == torch.float32:
            return self
        return ClassMajor(self.x.float(), self.y.float(), self.share.float())

    def rows(self, values: Tensor) -> Tensor:
        """[n] -> [k, 1, m], with zeros for the rows that fill up."""
        return _rows_last(values, self.x)

    def scores(self, v: Tensor) -> Tensor:
        """V x': [C, d] -> [k, C, m]."""
        return v.expand(*self.x.shape[:-2], *v.shape) @ self.x.mT

    def pull(self, r: Tensor) -> Tensor:
        """R x, summed over the chunks: [k, C, m] -> [C, d]."""
        return (r @ self.x).sum_to_size(r.shape[-2], self.x.shape[-1])


def class_major(x: Tensor, targets: Tensor) -> ClassMajor:
    """Arranges x [n, d] and targets [n, C]; the features stay a view of x where the chunks come out even."""
    n = len(x)
    at_least = max(math.ceil(x.numel() * x.element_size() / CHUNK_BYTES), 1)
    count = next((k for k in range(at_least, 2 * at_least) if n % k == 0), at_least)
    rows = math.ceil(n / count)

    def chunks(values: Tensor) -> Tensor:
        filled = functional.pad(values, (0, 0, 0, count * rows - n)) if count * rows > n else values
        return filled.view(count, rows, -1) if count > 1 else filled

    chunked = chunks(x.contiguous())
    return ClassMajor(chunked, chunks(targets).mT.contiguous(), _rows_last(x.new_full((n,), 1 / n), chunked))


def _rows_last(values: Tensor, x: Tensor) -> Tensor:
    filled = functional.pad(values, (0, math.prod(x.shape[:-1]) - len(values)))
    return filled.view(*x.shape[:-2], 1, x.shape[-2])


class Stack:
    """Scores of several V, [count, C, d] in fixed memory, that go through the data together, as count * C classes."""

    def __init__(self, data: ClassMajor, matrices: Tensor) -> None:
        leading, rows = data.x.shape[:-2], data.x.shape[-2]
        flat = matrices.flatten(0, 1)
        self._x, self._rows = data.x, flat.expand(*leading, *flat.shape)
        self._flat = flat.new_empty(*leading, len(flat), rows)
        self.scores = self._flat.view(*leading, *matrices.shape[:2], rows)
        """[..., count, C, m]; may be overwritten between `update` and `pull`."""

    def update(self) -> None:
        """Writes the scores of what the matrices hold now."""
        torch.matmul(self._rows, self._x.mT, out=self._flat)
