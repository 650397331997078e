"""a9a, w8a and german credit (LIBSVM data sets): two classes, 0 for the label -1 and 1 for +1."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.datasets.prepared import read
from core.datasets.table import Table
from core.errors import DataInvalid


def load_a9a(path: Path) -> Table:
    """Adult income: binary features [32561, 123] and the test set's [16281, 123]; float32."""
    return Table(*_binary(path, "a9a", 32_561, 123), *_binary(path, "a9a_t", 16_281, 123))


def load_w8a(path: Path) -> Table:
    """Web pages: binary features [49749, 300]; float32."""
    return Table(*_binary(path, "w8a", 49_749, 300))


def load_german(path: Path) -> Table:
    """Credits: features [1000, 24] in [-1, 1]; float32."""
    arrays = read(path, {"german_X": (1000, 24), "german_y": (1000,)})
    return Table(torch.from_numpy(arrays["german_X"]).to(torch.float32), _classes(arrays["german_y"]))


def _binary(path: Path, name: str, examples: int, features: int) -> tuple[Tensor, Tensor]:
    """Features [n, d] of zeros and ones from the places of the ones, and classes [n]."""
    shapes = {f"{name}_indices": (None,), f"{name}_indptr": (examples + 1,), f"{name}_y": (examples,)}
    arrays = read(path, shapes)
    columns, starts = arrays[f"{name}_indices"].astype(np.int64), arrays[f"{name}_indptr"]
    if starts[-1] != len(columns) or columns.max(initial=0) >= features:
        raise DataInvalid(
            f"{path}: {name}_indices does not fit {name}_indptr and {features} features: prepare it again"
        )
    x = np.zeros((examples, features), dtype=np.float32)
    x[np.repeat(np.arange(examples), np.diff(starts)), columns] = 1
    return torch.from_numpy(x), _classes(arrays[f"{name}_y"])


def _classes(signs: np.ndarray) -> Tensor:
    return torch.from_numpy((signs > 0).astype(np.int64))
