"""The 2x2 max-pools of `core.models.pool` on a GPU, with moments or without: images are read once each way.

Torch's operations read them for the moments and for the maxima, write where these were in eight bytes each, and go back
through each of the two by itself. As in `core.models.norm_triton` sums are in float32, in an order that depends on
shapes only, and nothing waits for the device.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from core.bilevel.fused import device_of
from core.models import norm_triton, pool_kernels
from core.models.kernels import Kernels

ELEMENTS = 1024
"""Of a tile, windows times channels: four pixels each."""


class _Plan(NamedTuple):
    """How x [N, height, width, channels] is divided: a program takes `columns` channels of `rows` rows of windows."""

    rows: int
    chunks: int
    """Of an image."""
    tiles: int
    """Of a chunk."""
    windows: int
    """Of a tile."""
    columns: int
    programs: int
    warps: int


def _moments(x: Tensor, average: Tensor, member: Tensor) -> tuple[Tensor, ...]:
    """The 2x2 max-pool of x [N, height, width, channels]; mean and variance [S, channels] of each set."""
    x, member = x.contiguous(), member.contiguous()
    images, height, width, channels = x.shape
    plan, sizes, tile = _arguments(x)
    y = x.new_empty(images, height // 2, width // 2, channels)
    number = torch.empty(images, dtype=torch.int32, device=x.device)
    partial = torch.empty(images * plan.chunks, 2, channels, dtype=torch.float32, device=x.device)
    with device_of(x):
        pool_kernels.pooled_moments[(plan.programs,)](
            x, member, y, number, partial, *sizes, member.shape[1], *tile, _power(member), num_warps=plan.warps
        )
        pixels, most = height * width, 2 * plan.rows * width
        mean, variance = norm_triton.of_sets(partial, number, member.shape[1], pixels, plan.chunks, most)
    return y, mean, variance


def _moments_back(bars: Sequence[Tensor], inputs: Sequence[Tensor], kept: Sequence[Tensor]) -> Sequence[Tensor]:
    (y_bar, mean_bar, variance_bar), (x, _, member), (mean, _) = bars, inputs, kept
    x, y_bar, member = x.contiguous(), y_bar.contiguous(), member.contiguous()
    plan, sizes, tile = _arguments(x)
    x_bar = torch.empty_like(x)
    size = x.shape[1] * x.shape[2] * member.float().sum(0).unsqueeze(-1)
    constant, curvature = (mean_bar / size).contiguous(), (2 * variance_bar / size).contiguous()
    with device_of(x):
        pool_kernels.pooled_adjoint[(plan.programs,)](
            x, y_bar, member, constant, curvature, mean, x_bar,
            *sizes, member.shape[1], *tile, _power(member), num_warps=plan.warps,
        )  # fmt: skip
    return (x_bar,)


def _largest(x: Tensor) -> tuple[Tensor, ...]:
    """The max-pool of x [N, height, width, channels], of windows that the edges cut off, too."""
    x = x.contiguous()
    images, height, width, channels = x.shape
    plan, sizes, tile = _arguments(x)
    y = x.new_empty(images, triton.cdiv(height, 2), triton.cdiv(width, 2), channels)
    with device_of(x):
        pool_kernels.largest[(plan.programs,)](x, y, *sizes, *tile, num_warps=plan.warps)
    return (y,)


def _largest_back(bars: Sequence[Tensor], inputs: Sequence[Tensor], kept: Sequence[Tensor]) -> Sequence[Tensor]:
    x, y_bar = inputs[0].contiguous(), bars[0].contiguous()
    plan, sizes, tile = _arguments(x)
    x_bar = torch.empty_like(x)
    with device_of(x):
        pool_kernels.largest_adjoint[(plan.programs,)](x, y_bar, x_bar, *sizes, *tile, num_warps=plan.warps)
    return (x_bar,)


WITH_MOMENTS, ALONE = Kernels(_moments, _moments_back), Kernels(_largest, _largest_back)


def _arguments(x: Tensor) -> tuple[_Plan, tuple[int, ...], tuple[int, ...]]:
    """The plan, and what all kernels take of it: sizes, and what is known when they are compiled."""
    _, height, width, channels = x.shape
    plan = _plan(*x.shape)
    sizes = (height, width, plan.rows, plan.chunks, plan.tiles)
    return plan, sizes, (channels, plan.windows, plan.columns)


def _power(member: Tensor) -> int:
    power: int = triton.next_power_of_2(member.shape[1])
    return power


@lru_cache
def _plan(images: int, height: int, width: int, channels: int) -> _Plan:
    columns = norm_triton.columns_of(channels, 64)
    high, wide, blocks = triton.cdiv(height, 2), triton.cdiv(width, 2), triton.cdiv(channels, columns)
    rows = 1
    while rows < 16 and 2 * rows <= min(high, images * blocks * high // norm_triton.PROGRAMS):
        rows *= 2
    windows = min(ELEMENTS // columns, triton.next_power_of_2(rows * wide))
    chunks, tiles = triton.cdiv(high, rows), triton.cdiv(rows * wide, windows)
    warps = max(1, min(4, windows * columns // 256))
    return _Plan(rows, chunks, tiles, windows, columns, images * chunks * blocks, warps)
