"""What a loaded table is."""

from typing import NamedTuple

from torch import Tensor


class Table(NamedTuple):
    """Examples with a feature vector each, in the order of the file; a missing value is NaN."""

    x: Tensor
    """Features [n, d], float32 or float64, whichever the source has."""
    y: Tensor
    """Targets [n]: class numbers (int64) or numbers (the type of x)."""
    test_x: Tensor | None = None
    """Features of the data set's own test set, where it has one."""
    test_y: Tensor | None = None
    validation_x: Tensor | None = None
    """Features of the data set's own validation set, where it has one."""
    validation_y: Tensor | None = None
