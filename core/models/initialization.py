"""Random parameters (Glorot and Bengio 2010)."""

import math

import torch
from torch import Generator, Tensor


def glorot(shape: tuple[int, ...], fan_in: int, fan_out: int, generator: Generator, dtype: torch.dtype) -> Tensor:
    """Uniform in +-sqrt(6 / (fan_in + fan_out)); drawn in float64, so that every precision starts alike."""
    bound = math.sqrt(6 / (fan_in + fan_out))
    draws = torch.rand(shape, dtype=torch.float64, generator=generator)
    return ((2 * draws - 1) * bound).to(dtype)
