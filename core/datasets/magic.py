"""MAGIC gamma telescope (Bock et al. 2004): class 1 is gamma, 0 is hadron."""

from pathlib import Path

import torch

from core.datasets.prepared import read
from core.datasets.table import Table


def load(path: Path) -> Table:
    """Features [19020, 10]; float32."""
    arrays = read(path, {"magic_X": (19_020, 10), "magic_y": (19_020,)})
    return Table(
        torch.from_numpy(arrays["magic_X"]).to(torch.float32),
        torch.from_numpy(arrays["magic_y"]).to(torch.int64),
    )
