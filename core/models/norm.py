"""Batch normalization (Ioffe and Szegedy 2015) with the statistics of each group of images.

y = offset + scale (x - mean) / sqrt(variance + epsilon). The fused F.batch_norm is not used: its second derivatives
are right as vjp(grad) and jvp(grad) but silently wrong as grad(jvp). With the group's own statistics the adjoint and
the tangent are written by hand, in operations that can be differentiated again: fewer passes over the images than
automatic differentiation makes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

EPSILON = 1e-3
"""Of the paper's code (TensorFlow's default)."""


class Statistics(NamedTuple):
    """Mean and (biased) variance of each channel: [G, channels] for G groups, or [1, channels] for a population."""

    mean: Tensor
    variance: Tensor


def normalize(x: Tensor, values: Statistics, offset: Tensor, scale: Tensor | None) -> Tensor:
    """Normalizes x [groups * n, channels, height, width] with given statistics."""
    grouped = x.view(values.mean.shape[0], -1, *x.shape[1:])  # [G, n, channels, height, width]
    return _affine(grouped, values, offset, torch.ones_like(offset) if scale is None else scale).flatten(0, 1)


def normalize_groups(x: Tensor, groups: int, offset: Tensor, scale: Tensor | None) -> tuple[Tensor, Statistics]:
    """Normalizes x [groups * n, channels, height, width] with the statistics of each group itself; and these."""
    grouped = x.view(groups, -1, *x.shape[1:])
    y, mean, variance = _normalized(grouped, offset, torch.ones_like(offset) if scale is None else scale)
    return y.flatten(0, 1), Statistics(mean, variance)


def _affine(x: Tensor, values: Statistics, offset: Tensor, scale: Tensor) -> Tensor:
    slope = scale * torch.rsqrt(values.variance + EPSILON)  # [G, channels]
    return torch.addcmul(_wide(offset - values.mean * slope, x), x, _wide(slope, x))


def _wide(values: Tensor, x: Tensor) -> Tensor:
    """[G, channels] against the images x [G, n, channels, height, width], in their format."""
    return values[:, None, :, None, None].to(x.dtype)


def _sum(x: Tensor) -> Tensor:
    """Over images and pixels, in float32 at least; pixels go first, which is much faster than both at once."""
    return _long(x.sum((3, 4))).sum(1)


def _mean(x: Tensor) -> Tensor:
    return _long(x.mean((3, 4))).mean(1)


def _long(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


class _Normalized(torch.autograd.Function):
    """(x [G, n, channels, height, width], offset, scale) -> (y, mean, variance).

    Mean and variance are outputs, so that what is saved has known derivatives when the adjoint is differentiated.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, offset: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean = _mean(x)
        variance = _mean((x - _wide(mean, x)).square_())  # centred before it is squared: no cancellation
        return _affine(x, Statistics(mean, variance), offset, scale), mean, variance

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, Tensor, Tensor], output: tuple[Tensor, ...]) -> None:
        x, _, scale = inputs
        _, mean, variance = output
        ctx.save_for_backward(x, scale, mean, variance)
        ctx.save_for_forward(x, scale, mean, variance)

    @staticmethod
    def backward(ctx: Any, y_bar: Tensor, mean_bar: Tensor, variance_bar: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x_bar = slope y_bar + (mean_bar - slope sum y_bar)/N + 2/N (x - mean) (derivative by the variance)."""
        x, scale, mean, variance = ctx.saved_tensors
        size = x[0, :, 0].numel()
        root = torch.rsqrt(variance + EPSILON)
        slope, total = scale * root, _sum(y_bar)
        scale_bar = (_sum(y_bar * x) - mean * total) * root  # [G, channels]
        curvature = (2 * variance_bar - scale * root**2 * scale_bar) / size
        constant = (mean_bar - slope * total) / size - mean * curvature
        x_bar = torch.addcmul(torch.addcmul(_wide(constant, x), x, _wide(curvature, x)), y_bar, _wide(slope, x))
        return x_bar, total.sum(0).to(scale.dtype), scale_bar.sum(0).to(scale.dtype)

    @staticmethod
    def jvp(ctx: Any, x_dot: Tensor, offset_dot: Tensor, scale_dot: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """y_dot = offset_dot + slope (x_dot - mean_dot) + slope_dot (x - mean)."""
        x, scale, mean, variance = ctx.saved_tensors
        root = torch.rsqrt(variance + EPSILON)
        centred, mean_dot = x - _wide(mean, x), _mean(x_dot)
        variance_dot = 2 * _mean(centred * x_dot)
        slope_dot = scale_dot * root - scale * root**3 * variance_dot / 2
        y_dot = _wide(scale * root, x) * (x_dot - _wide(mean_dot, x)) + _wide(slope_dot, x) * centred
        return y_dot + offset_dot[:, None, None], mean_dot, variance_dot


_normalized: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]] = _Normalized.apply
