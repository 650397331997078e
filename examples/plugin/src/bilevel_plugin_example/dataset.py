"""Two spirals."""

import math
from pathlib import Path

import torch

from bilevel_plugin_example.spec import Spirals
from core.bilevel.randomness import stream
from core.datasets.table import Table


def spirals(dataset: Spirals, data_dir: Path) -> Table:
    """The same points in every experiment; an experiment's seed splits them. Nothing is read from `data_dir`."""
    generator = stream(0, "spirals")
    y = torch.arange(dataset.examples) % 2
    angle = 3 * math.pi * torch.rand(dataset.examples, generator=generator, dtype=torch.float64).sqrt()
    turned = angle + math.pi * y
    x = (angle / (2 * math.pi)).unsqueeze(1) * torch.stack([turned.cos(), turned.sin()], dim=1)
    noise = torch.randn(dataset.examples, 2, generator=generator, dtype=torch.float64)
    return Table(x + dataset.noise * noise, y)
