"""MNIST (LeCun, Cortes, Burges): 28x28 grey digits as vectors of 784 pixels in [0, 1]."""

from pathlib import Path

import torch
from torch import Tensor

from core.datasets.prepared import Array, read
from core.datasets.table import Table

SHAPES = {"x_train": (60_000, 28, 28), "y_train": (60_000,), "x_test": (10_000, 28, 28), "y_test": (10_000,)}
"""Schema of the prepared file, all u8: ink is bright (255), original order."""


def load(path: Path) -> Table:
    """Reads mnist.npz; float32."""
    arrays = read(path, SHAPES)
    return Table(
        _pixels(arrays["x_train"]),
        _labels(arrays["y_train"]),
        _pixels(arrays["x_test"]),
        _labels(arrays["y_test"]),
    )


def _pixels(images: Array) -> Tensor:
    return torch.from_numpy(images).flatten(1).to(torch.float32).div_(255)


def _labels(labels: Array) -> Tensor:
    return torch.from_numpy(labels).to(torch.int64)
