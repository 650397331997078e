"""Batch normalization (Ioffe and Szegedy 2015) from primitives, with the statistics of each group of images.

y = offset + scale (x - mean) / sqrt(variance + epsilon). The fused F.batch_norm is not used: its second derivatives
are right as vjp(grad) and jvp(grad) but silently wrong as grad(jvp).
"""

from typing import NamedTuple

import torch
from torch import Tensor

EPSILON = 1e-3
"""Of the paper's code (TensorFlow's default)."""


class Statistics(NamedTuple):
    """Mean and (biased) variance of each channel: [G, channels] for G groups, or [1, channels] for a population."""

    mean: Tensor
    variance: Tensor


def statistics(x: Tensor, groups: int) -> Statistics:
    """Statistics over the images and pixels of each group, for x [groups * n, channels, height, width].

    Centred before it is squared (no cancellation); pixels are averaged before images, which is much faster than
    torch.var_mean.
    """
    grouped = x.view(groups, -1, *x.shape[1:])  # [G, n, channels, height, width]
    mean = grouped.mean((3, 4)).mean(1)
    centred = grouped - mean[:, None, :, None, None]
    return Statistics(mean, centred.square().mean((3, 4)).mean(1))


def normalize(x: Tensor, values: Statistics, offset: Tensor, scale: Tensor | None) -> Tensor:
    """Normalizes x [groups * n, channels, height, width] with the statistics of its group."""
    slope = torch.rsqrt(values.variance + EPSILON)  # [G, channels]
    if scale is not None:
        slope = slope * scale
    shift = offset - values.mean * slope
    grouped = x.view(slope.shape[0], -1, *x.shape[1:])
    return torch.addcmul(shift[:, None, :, None, None], grouped, slope[:, None, :, None, None]).flatten(0, 1)
