"""The norm of `core.models.norm` on a GPU: three kernels forward and three backward, where torch launches dozens.

Each way, the first kernel reduces a chunk of pixels of an image, the second combines the chunks of a set (Chan, Golub
and LeVeque 1983), and the third is a line in x for every pixel. All sums are in float32, in an order that depends on
shapes only: results are the same to the bit, run after run. Nothing waits for the device.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from core.bilevel.fused import device_of
from core.models import norm_kernels
from core.models.image_sets import ImageSets

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


def forward(
    x: Tensor, offset: Tensor, scale: Tensor, sets: ImageSets, epsilon: float, leak: float
) -> tuple[Tensor, Tensor, Tensor]:
    """y = offset + scale (x - mean) / sqrt(variance + epsilon), times `leak` where that is below zero; and mean and
    variance [S, channels] of each set."""
    x = x.contiguous()
    mean, variance = statistics(x, sets)
    return shifted(x, offset, scale, sets.member, mean, variance, epsilon, leak), mean, variance


def shifted(
    x: Tensor,
    offset: Tensor,
    scale: Tensor,
    member: Tensor,
    mean: Tensor,
    variance: Tensor,
    epsilon: float,
    leak: float,
) -> Tensor:
    """The same y with mean and variance that are given."""
    x, member = x.contiguous(), member.contiguous()
    plan, y, count = _plan(*x.shape), torch.empty_like(x), member.shape[1]
    with device_of(x):
        norm_kernels.normalized[(plan.programs,)](
            x, member, mean.contiguous(), variance.contiguous(), *_rows_of(offset), *_rows_of(scale), y,
            x.shape[1], plan.chunks, count, epsilon, leak,
            x.shape[2], plan.tiles, plan.rows, plan.columns, triton.next_power_of_2(count), num_warps=plan.warps,
        )  # fmt: skip
    return y


def backward(
    y_bar: Tensor,
    mean_bar: Tensor,
    variance_bar: Tensor,
    x: Tensor,
    offset: Tensor,
    scale: Tensor,
    member: Tensor,
    mean: Tensor,
    variance: Tensor,
    epsilon: float,
    leak: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The adjoint of `forward`: cotangents of x in its format, and of offset and scale in their shape and float32."""
    line, bars, number = _sums(y_bar, mean_bar, variance_bar, x, offset, scale, member, mean, variance, epsilon, leak)
    x_bar = _adjoint(y_bar, x, offset, number, mean, line, leak)
    offset_bar, scale_bar = bars.sum(1) if scale.ndim == 1 else bars
    return x_bar, offset_bar, scale_bar


def shifted_back(
    y_bar: Tensor,
    x: Tensor,
    offset: Tensor,
    scale: Tensor,
    member: Tensor,
    mean: Tensor,
    variance: Tensor,
    epsilon: float,
    leak: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The adjoint of `shifted`: as `backward`, and the cotangents of mean and variance."""
    nothing = torch.zeros_like(mean)
    line, bars, number = _sums(y_bar, nothing, nothing, x, offset, scale, member, mean, variance, epsilon, leak)
    line[:2] = 0
    x_bar = _adjoint(y_bar, x, offset, number, mean, line, leak)
    mean_bar = -line[2] * bars[0]
    variance_bar = line[2] * bars[1] / (-2 * (variance + epsilon).sqrt())
    offset_bar, scale_bar = bars.sum(1) if scale.ndim == 1 else bars
    return x_bar, offset_bar, scale_bar, mean_bar, variance_bar


def _sums(
    y_bar: Tensor,
    mean_bar: Tensor,
    variance_bar: Tensor,
    x: Tensor,
    offset: Tensor,
    scale: Tensor,
    member: Tensor,
    mean: Tensor,
    variance: Tensor,
    epsilon: float,
    leak: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The line of the adjoint [3, S, channels]; the cotangents of offset and scale [2, S, channels] of each set; and
    the number of the set that each image is in."""
    x, y_bar, member = x.contiguous(), y_bar.contiguous(), member.contiguous()
    images, pixels, channels = x.shape
    plan, count = _plan(*x.shape), member.shape[1]
    number = torch.empty(images, dtype=torch.int32, device=x.device)
    partial = mean.new_empty(images * plan.chunks, 2, channels)
    bars, line = mean.new_empty(2, count, channels), mean.new_empty(3, count, channels)
    with device_of(x):
        norm_kernels.image_sums[(plan.programs,)](
            x, y_bar, member, mean, variance, *_rows_of(offset), *_rows_of(scale), number, partial,
            pixels, plan.chunks, count, epsilon, leak,
            channels, plan.tiles, plan.rows, plan.columns, triton.next_power_of_2(count), num_warps=plan.warps,
        )  # fmt: skip
        grid, rows, columns, warps = _combining(images * plan.chunks, count, channels)
        norm_kernels.set_sums[grid](
            partial, number, variance, *_rows_of(scale), mean_bar.contiguous(), variance_bar.contiguous(), bars, line,
            images, pixels, plan.chunks, count, epsilon,
            channels, rows, columns, triton.cdiv(images, norm_kernels.SCANNED.value), num_warps=warps,
        )  # fmt: skip
    return line, bars, number


def _adjoint(
    y_bar: Tensor, x: Tensor, offset: Tensor, number: Tensor, mean: Tensor, line: Tensor, leak: float
) -> Tensor:
    x, y_bar = x.contiguous(), y_bar.contiguous()
    plan, x_bar = _plan(*x.shape), torch.empty_like(x)
    with device_of(x):
        norm_kernels.adjoint[(plan.programs,)](
            x, y_bar, number, mean, *_rows_of(offset), line, x_bar, x.shape[1], plan.chunks, line.shape[1], leak,
            x.shape[2], plan.tiles, plan.rows, plan.columns, num_warps=plan.warps,
        )  # fmt: skip
    return x_bar


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
