"""The norm of `core.models.norm` on a GPU: three kernels forward and three backward, where torch launches dozens.

Each way, the first kernel reduces a chunk of pixels of an image, the second combines the chunks of a set (Chan, Golub
and LeVeque 1983), and the third is a line in x for every pixel. All sums are in float32, in an order that depends on
shapes only: results are the same to the bit, run after run. Nothing waits for the device.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from core.bilevel.fused import device_of
from core.models import norm_kernels
from core.models.image_sets import ImageSets
from core.models.kernels import Kernels

ELEMENTS = 2048
"""Of a tile, pixels times channels: 16 a thread, so that a GPU's loads of 16 bytes are many and registers enough."""
PROGRAMS = 2048
"""Into how many, at least, images are divided where they are large enough: it fills the GPUs of 2025 once or twice."""


class _Plan(NamedTuple):
    """How x [images, pixels, channels] is divided: a program takes `columns` channels of `tiles` tiles of pixels."""

    rows: int
    """Pixels of a tile."""
    columns: int
    tiles: int
    chunks: int
    """Of an image."""
    programs: int
    warps: int


def statistics(x: Tensor, sets: ImageSets) -> tuple[Tensor, Tensor]:
    """Mean and variance [S, channels] of each set of the images x [N, pixels, channels]."""
    x, member = x.contiguous(), sets.member.contiguous()
    images, pixels, channels = x.shape
    plan, count = _plan(*x.shape), member.shape[1]
    number = torch.empty(images, dtype=torch.int32, device=x.device)
    partial = torch.empty(images * plan.chunks, 2, channels, dtype=torch.float32, device=x.device)
    with device_of(x):
        norm_kernels.image_moments[(plan.programs,)](
            x, member, number, partial, pixels, plan.chunks, count,
            channels, plan.tiles, plan.rows, plan.columns, triton.next_power_of_2(count), num_warps=plan.warps,
        )  # fmt: skip
        return of_sets(partial, number, count, pixels, plan.chunks, plan.tiles * plan.rows)


class _Norm(NamedTuple):
    """What a norm is made of: x [N, pixels, channels], whose sets have these statistics, in float32 and contiguous."""

    x: Tensor
    offset: Tensor
    scale: Tensor
    member: Tensor
    mean: Tensor
    variance: Tensor
    epsilon: float
    leak: float


def with_its_own(epsilon: float, leak: float) -> Kernels:
    """(x, offset, scale, average, member) -> y = offset + scale (x - mean) / sqrt(variance + epsilon), times `leak`
    where that is below zero; and mean and variance [S, channels] of each set."""

    def forward(x: Tensor, offset: Tensor, scale: Tensor, average: Tensor, member: Tensor) -> tuple[Tensor, ...]:
        mean, variance = statistics(x, ImageSets(average, member))
        return _normalized(_Norm(x, offset, scale, member, mean, variance, epsilon, leak)), mean, variance

    def backward(bars: Sequence[Tensor], inputs: Sequence[Tensor], kept: Sequence[Tensor]) -> Sequence[Tensor]:
        (y_bar, mean_bar, variance_bar), (x, offset, scale, _, member), (mean, variance) = bars, inputs, kept
        norm = _Norm(x, offset, scale, member, mean, variance, epsilon, leak)
        line, sums, number = _sums(y_bar, mean_bar, variance_bar, norm)
        return _adjoint(y_bar, norm, line, number), *_of_offset_and_scale(sums, norm)

    return Kernels(forward, backward)


def with_given(epsilon: float, leak: float) -> Kernels:
    """(x, offset, scale, mean, variance, member) -> the same y, of statistics that are given."""

    def of(inputs: Sequence[Tensor]) -> _Norm:
        x, offset, scale, mean, variance, member = inputs
        return _Norm(x, offset, scale, member, mean.float().contiguous(), variance.float().contiguous(), epsilon, leak)

    def backward(bars: Sequence[Tensor], inputs: Sequence[Tensor], kept: Sequence[Tensor]) -> Sequence[Tensor]:
        norm = of(inputs)
        nothing = torch.zeros_like(norm.mean)
        line, sums, number = _sums(bars[0], nothing, nothing, norm)
        line[:2] = 0
        slope, variance_bar = line[2], -line[2] * sums[1] / (2 * (norm.variance + epsilon).sqrt())
        x_bar = _adjoint(bars[0], norm, line, number)
        return x_bar, *_of_offset_and_scale(sums, norm), -slope * sums[0], variance_bar

    return Kernels(lambda *inputs: (_normalized(of(inputs)),), backward)


def _normalized(norm: _Norm) -> Tensor:
    x, member = norm.x.contiguous(), norm.member.contiguous()
    plan, y, count = _plan(*x.shape), torch.empty_like(x), member.shape[1]
    with device_of(x):
        norm_kernels.normalized[(plan.programs,)](
            x, member, norm.mean, norm.variance, *_rows_of(norm.offset),
            *_rows_of(norm.scale), y, x.shape[1], plan.chunks, count, norm.epsilon, norm.leak,
            x.shape[2], plan.tiles, plan.rows, plan.columns, triton.next_power_of_2(count), num_warps=plan.warps,
        )  # fmt: skip
    return y


def _sums(y_bar: Tensor, mean_bar: Tensor, variance_bar: Tensor, norm: _Norm) -> tuple[Tensor, Tensor, Tensor]:
    """The line of the adjoint [3, S, channels]; the cotangents of offset and scale [2, S, channels] of each set; and
    the number of the set that each image is in."""
    x, y_bar, member = norm.x.contiguous(), y_bar.contiguous(), norm.member.contiguous()
    mean, variance = norm.mean, norm.variance
    images, pixels, channels = x.shape
    plan, count = _plan(*x.shape), member.shape[1]
    number = torch.empty(images, dtype=torch.int32, device=x.device)
    partial = mean.new_empty(images * plan.chunks, 2, channels)
    sums, line = mean.new_empty(2, count, channels), mean.new_empty(3, count, channels)
    with device_of(x):
        norm_kernels.image_sums[(plan.programs,)](
            x, y_bar, member, mean, variance, *_rows_of(norm.offset), *_rows_of(norm.scale), number, partial,
            pixels, plan.chunks, count, norm.epsilon, norm.leak,
            channels, plan.tiles, plan.rows, plan.columns, triton.next_power_of_2(count), num_warps=plan.warps,
        )  # fmt: skip
        grid, rows, columns, warps = _combining(images * plan.chunks, count, channels)
        norm_kernels.set_sums[grid](
            partial, number, variance, *_rows_of(norm.scale), mean_bar.contiguous(), variance_bar.contiguous(),
            sums, line, images, pixels, plan.chunks, count, norm.epsilon,
            channels, rows, columns, triton.cdiv(images, norm_kernels.SCANNED.value), num_warps=warps,
        )  # fmt: skip
    return line, sums, number


def _adjoint(y_bar: Tensor, norm: _Norm, line: Tensor, number: Tensor) -> Tensor:
    x, y_bar = norm.x.contiguous(), y_bar.contiguous()
    plan, x_bar = _plan(*x.shape), torch.empty_like(x)
    with device_of(x):
        norm_kernels.adjoint[(plan.programs,)](
            x, y_bar, number, norm.mean, *_rows_of(norm.offset), line, x_bar,
            x.shape[1], plan.chunks, line.shape[1], norm.leak,
            x.shape[2], plan.tiles, plan.rows, plan.columns, num_warps=plan.warps,
        )  # fmt: skip
    return x_bar


def _of_offset_and_scale(sums: Tensor, norm: _Norm) -> Tensor:
    """Their cotangents in their shape, from those of each set."""
    return sums.sum(1) if norm.scale.ndim == 1 else sums


def of_sets(partial: Tensor, number: Tensor, count: int, pixels: int, chunks: int, most: int) -> tuple[Tensor, Tensor]:
    """Mean and variance [count, channels] of each set from those of chunks of its images, of `most` pixels at most."""
    channels = partial.shape[-1]
    mean, variance = partial.new_empty(count, channels), partial.new_empty(count, channels)
    grid, rows, columns, warps = _combining(len(partial), count, channels)
    norm_kernels.set_moments[grid](
        partial, number, mean, variance, len(number), pixels, chunks, most,
        channels, rows, columns, triton.cdiv(len(number), norm_kernels.SCANNED.value), num_warps=warps,
    )  # fmt: skip
    return mean, variance


def _rows_of(values: Tensor) -> tuple[Tensor, int]:
    """[channels] or [S, channels], and from the row of one set to that of the next."""
    return values.contiguous(), 0 if values.ndim == 1 else values.shape[1]


@lru_cache
def _plan(images: int, pixels: int, channels: int) -> _Plan:
    columns = columns_of(channels, 64)
    rows = min(ELEMENTS // columns, triton.next_power_of_2(pixels))
    blocks, whole = triton.cdiv(channels, columns), triton.cdiv(pixels, rows)
    tiles = 1
    while tiles < 16 and 2 * tiles <= min(whole, images * blocks * whole // PROGRAMS):
        tiles *= 2
    chunks = triton.cdiv(whole, tiles)
    return _Plan(rows, columns, tiles, chunks, images * chunks * blocks, _warps(rows * columns))


@lru_cache
def _combining(chunks: int, count: int, channels: int) -> tuple[tuple[int, int], int, int, int]:
    """Grid, rows and columns of a tile, and warps of the kernels that take about chunks / count rows for each set."""
    columns = columns_of(channels, 16)
    rows = min(128, max(16, triton.next_power_of_2(chunks // count)))
    return (count, triton.cdiv(channels, columns)), rows, columns, _warps(rows * columns)


def columns_of(channels: int, most: int) -> int:
    """A power of 2 that divides the channels, or some that go beyond them where that would be too small."""
    divides = channels & -channels
    return min(most, divides if divides >= 16 else triton.next_power_of_2(channels))


def _warps(elements: int) -> int:
    """Of 16 elements a thread."""
    return max(1, min(8, elements // 512))
