"""2x2 max-pools: of images alone, or with the statistics of a norm that comes behind.

A norm increases, so that it may come after the pool and see a quarter of the pixels; its statistics are those of all.
On a GPU the kernels of `core.models.pool_triton` make them where nothing differentiates or batches them further.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from core.models.image_sets import ImageSets
from core.models.norm import Statistics, differentiated, fused, set_statistics


def largest(x: Tensor) -> Tensor:
    """The largest of each 2x2 window of x [N, height, width, channels], windows that the edges cut off included."""
    return _largest(x) if fused(x) else _pool(x, cut_off=True)


def pooled(x: Tensor, sets: ImageSets, given: Statistics | None = None) -> tuple[Tensor, Statistics]:
    """The largest of each 2x2 window of x [N, height, width, channels], and statistics: those given, or of each set.

    Of an odd height or width the last row or column is in no window.
    """
    if given is None and fused(x, sets.member):
        y, mean, variance = _pooled(x, *sets)
        return y, Statistics(mean, variance)
    return _pool(x, cut_off=False), given or set_statistics(x.flatten(1, 2), sets)


def _pool(x: Tensor, *, cut_off: bool) -> Tensor:
    return F.max_pool2d(x.movedim(-1, 1), 2, ceil_mode=cut_off).movedim(1, -1)


class _Largest(torch.autograd.Function):
    """x [N, height, width, channels] -> [N, ceil(height / 2), ceil(width / 2), channels]."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        from core.models import pool_triton

        ctx.save_for_backward(x)
        return pool_triton.largest(x)

    @staticmethod
    def backward(ctx: Any, y_bar: Tensor) -> Tensor | None:
        """y_bar where x is the largest."""
        (x,) = ctx.saved_tensors
        if not torch.is_grad_enabled() and fused(x, y_bar):
            from core.models import pool_triton

            return pool_triton.largest_back(y_bar, x)
        (x_bar,) = differentiated(lambda: (_pool(x, cut_off=True),), (x,), (y_bar,), (True,))
        return x_bar


class _Pooled(torch.autograd.Function):
    """(x [N, height, width, channels], sets) -> (its max-pool, mean [S, channels], variance [S, channels])."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, average: Tensor, member: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        from core.models import pool_triton

        y, mean, variance = pool_triton.forward(x, ImageSets(average, member))
        ctx.save_for_backward(x, average, member, mean)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, y_bar: Tensor, mean_bar: Tensor, variance_bar: Tensor) -> tuple[Tensor | None, ...]:
        """x_bar = (mean_bar + 2 (x - mean) variance_bar) / M, and y_bar beside it where x is the largest.

        M is the number of pixels of all images of the set.
        """
        x, average, member, mean = ctx.saved_tensors
        sets, bars = ImageSets(average, member), (y_bar, mean_bar, variance_bar)
        if not torch.is_grad_enabled() and fused(x, member, *bars):
            from core.models import pool_triton

            return pool_triton.backward(y_bar, mean_bar, variance_bar, x, sets, mean), None, None

        def plain() -> tuple[Tensor, ...]:
            return _pool(x, cut_off=False), *set_statistics(x.flatten(1, 2), sets)

        return *differentiated(plain, (x,), bars, (True,)), None, None


_pooled: Callable[..., tuple[Tensor, Tensor, Tensor]] = _Pooled.apply
_largest: Callable[[Tensor], Tensor] = _Largest.apply
