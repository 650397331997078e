"""Batch normalization (Ioffe and Szegedy 2015) with the statistics of each set of images.

y = offset + scale (x - mean) / sqrt(variance + epsilon). The fused F.batch_norm is not used: its second derivatives
are right as vjp(grad) and jvp(grad) but silently wrong as grad(jvp). With the set's own statistics the adjoint and
the tangent are written by hand, in operations that can be differentiated again, but for jvp(jvp), which
`core.bilevel.derivatives` does not take: fewer passes over the images than automatic differentiation makes.

x [N, pixels, channels]: channels last, as fast convolutions leave them and as sums over pixels like them. On a GPU the
values and the adjoint are those of `core.models.norm_triton` where nothing differentiates or batches them further, with
the ReLU behind the norm.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from core.models.image_sets import ImageSets
from core.models.kernels import Kernels, computed, fused

EPSILON = 1e-3
"""Of the paper's code (TensorFlow's default)."""


class Statistics(NamedTuple):
    """Mean and (biased) variance of each channel: [S, channels] for S sets, or [1, channels] for a population."""

    mean: Tensor
    variance: Tensor


def set_statistics(x: Tensor, sets: ImageSets) -> Statistics:
    """Of each set of the images x [N, pixels, channels]."""
    return Statistics(*_moments(x, *sets))


def normalize(
    x: Tensor,
    sets: ImageSets,
    offset: Tensor,
    scale: Tensor | None,
    given: Statistics | None = None,
    *,
    leak: float = 1.0,
) -> tuple[Tensor, Statistics]:
    """Normalizes x [N, pixels, channels] with statistics of each set: those given, or else its own.

    Returns y [N, pixels, channels] and the statistics. Offset and scale are [channels], or [S, channels] where every
    set has its own. What is below zero is multiplied by `leak`: 0 makes it a ReLU.
    """
    scale = torch.ones_like(offset) if scale is None else scale
    if given is None:
        operation = partial(_with_its_own, leak=leak)
        y, *values = computed(operation, partial(_kernels, leak, given=False), x, offset, scale, *sets)
        return y, Statistics(*values)
    operation = partial(_with_given, leak=leak)
    (y,) = computed(operation, partial(_kernels, leak, given=True), x, offset, scale, *given, sets.member)
    return y, given


def _with_its_own(
    x: Tensor, offset: Tensor, scale: Tensor, average: Tensor, member: Tensor, *, leak: float
) -> tuple[Tensor, ...]:
    y, mean, variance = _normalized(x, offset, scale, average, member)
    return _leaky_(y, leak), mean, variance


def _with_given(
    x: Tensor, offset: Tensor, scale: Tensor, mean: Tensor, variance: Tensor, member: Tensor, *, leak: float
) -> tuple[Tensor, ...]:
    constant, slope = _coefficients(Statistics(mean, variance), offset, scale)
    return (_leaky_(_affine(x, member @ constant, member @ slope), leak),)


def _kernels(leak: float, *, given: bool) -> Kernels:
    """Imported where they can run: Triton may not be there elsewhere."""
    from core.models import norm_triton

    return (norm_triton.with_given if given else norm_triton.with_its_own)(EPSILON, leak)


def _leaky_(y: Tensor, leak: float) -> Tensor:
    """In place."""
    if leak == 1:
        return y
    return F.leaky_relu_(y, leak) if leak else torch.relu_(y)


def _coefficients(values: Statistics, offset: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """y = constant + slope x, both [S, channels]."""
    slope = scale * torch.rsqrt(values.variance + EPSILON)
    return offset - values.mean * slope, slope


def _affine(x: Tensor, constant: Tensor, slope: Tensor) -> Tensor:
    """constant + slope x, with a row for each image or one for all."""
    return torch.addcmul(_wide(constant, x), x, _wide(slope, x))


def _wide(values: Tensor, x: Tensor) -> Tensor:
    """[N, channels] against the images x, in their format."""
    return values.unsqueeze(1).to(x.dtype)


def _mean(x: Tensor, average: Tensor) -> Tensor:
    """Over the images and pixels of each set, in the format of the statistics from the sum over pixels on.

    A sum, as the mean of bfloat16 would copy the images to float32 first.
    """
    return average @ x.sum(1).to(average.dtype) / x.shape[1]


class _Moments(torch.autograd.Function):
    """(x [N, pixels, channels], sets) -> (mean [S, channels], variance [S, channels])."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, average: Tensor, member: Tensor) -> tuple[Tensor, Tensor]:
        if fused(x, member):
            from core.models import norm_triton

            return norm_triton.statistics(x, ImageSets(average, member))
        mean = _mean(x, average)
        return mean, _mean((x - _wide(member @ mean, x)).square_(), average)  # centred first: no cancellation

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs, output[0])
        ctx.save_for_forward(*inputs, output[0])

    @staticmethod
    def backward(ctx: Any, mean_bar: Tensor, variance_bar: Tensor) -> tuple[Tensor | None, ...]:
        """x_bar = (mean_bar + 2 (x - mean) variance_bar) / M, M the number of pixels of all images of the set."""
        x, _, member, mean = ctx.saved_tensors
        size = x.shape[1] * member.sum(0).unsqueeze(-1)
        curvature = 2 * variance_bar / size
        return _affine(x, member @ (mean_bar / size - mean * curvature), member @ curvature), None, None

    @staticmethod
    def jvp(ctx: Any, x_dot: Tensor, *_: Tensor | None) -> tuple[Tensor, Tensor]:
        x, average, member, mean = ctx.saved_tensors
        return _mean(x_dot, average), 2 * _mean((x - _wide(member @ mean, x)) * x_dot, average)


_moments: Callable[..., tuple[Tensor, Tensor]] = _Moments.apply


class _Normalized(torch.autograd.Function):
    """(x [N, pixels, channels], offset, scale, sets) -> (y, mean [S, channels], variance [S, channels]).

    Offset and scale are [channels] or [S, channels]. Mean and variance are outputs, so that what is saved has known
    derivatives when the adjoint is differentiated.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, offset: Tensor, scale: Tensor, average: Tensor, member: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, variance = _Moments.forward(x, average, member)
        constant, slope = _coefficients(Statistics(mean, variance), offset, scale)
        return _affine(x, member @ constant, member @ slope), mean, variance

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        x, _, scale, average, member = inputs
        _, mean, variance = output
        ctx.save_for_backward(x, scale, average, member, mean, variance)
        ctx.save_for_forward(x, scale, average, member, mean, variance)

    @staticmethod
    def backward(ctx: Any, y_bar: Tensor, mean_bar: Tensor, variance_bar: Tensor) -> tuple[Tensor | None, ...]:
        """x_bar = slope y_bar + (mean_bar - slope sum y_bar)/M + 2/M (x - mean) (derivative by the variance).

        M is the number of pixels of all images of the set.
        """
        x, scale, _, member, mean, variance = ctx.saved_tensors
        size = x.shape[1] * member.sum(0).unsqueeze(-1)
        root = torch.rsqrt(variance + EPSILON)
        slope, total = scale * root, member.mT @ y_bar.sum(1).to(member.dtype)
        scale_bar = (member.mT @ (y_bar * x).sum(1).to(member.dtype) - mean * total) * root  # [S, channels]
        curvature = (2 * variance_bar - scale * root**2 * scale_bar) / size
        constant = (mean_bar - slope * total) / size - mean * curvature
        # In place takes less memory; vmap, which takes directions through copies of a network, has no rule for that.
        add = Tensor.addcmul_ if scale.ndim == 1 else torch.addcmul
        x_bar = add(_affine(x, member @ constant, member @ curvature), y_bar, _wide(member @ slope, x))
        if scale.ndim == 1:
            total, scale_bar = total.sum(0), scale_bar.sum(0)
        return x_bar, total.to(scale.dtype), scale_bar.to(scale.dtype), None, None

    @staticmethod
    def jvp(
        ctx: Any, x_dot: Tensor, offset_dot: Tensor, scale_dot: Tensor, *_: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """y_dot = offset_dot + slope (x_dot - mean_dot) + slope_dot (x - mean)."""
        x, scale, average, member, mean, variance = ctx.saved_tensors
        root = torch.rsqrt(variance + EPSILON)
        centred, mean_dot = x - _wide(member @ mean, x), _mean(x_dot, average)
        variance_dot = 2 * _mean(centred * x_dot, average)
        slope_dot = scale_dot * root - scale * root**3 * variance_dot / 2
        moved = _wide(member @ (scale * root), x) * (x_dot - _wide(member @ mean_dot, x))
        offset_dot = offset_dot.to(x.dtype) if offset_dot.ndim == 1 else _wide(member @ offset_dot, x)
        return moved + _wide(member @ slope_dot, x) * centred + offset_dot, mean_dot, variance_dot


_normalized: Callable[..., tuple[Tensor, Tensor, Tensor]] = _Normalized.apply
