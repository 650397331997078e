"""The 2x2 max-pool of the images that a norm has the statistics of, and these statistics.

The norm increases, so that it may come after the pool and see a quarter of the pixels; its statistics are those of all.
On a GPU both are made by one kernel each way, `core.models.pool_triton`, where nothing differentiates or batches them
further.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from core.models.image_sets import ImageSets
from core.models.norm import Statistics, fused, set_statistics


def pooled(x: Tensor, sets: ImageSets, given: Statistics | None = None) -> tuple[Tensor, Statistics]:
    """The largest of each 2x2 window of x [N, height, width, channels], and statistics: those given, or of each set.

    Of an odd height or width the last row or column is in no window.
    """
    if given is None and fused(x, sets.member):
        y, mean, variance = _pooled(x, *sets)
        return y, Statistics(mean, variance)
    return _largest(x), given or set_statistics(x.flatten(1, 2), sets)


def _largest(x: Tensor) -> Tensor:
    return F.max_pool2d(x.movedim(-1, 1), 2).movedim(1, -1)


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
        sets, bars, again = ImageSets(average, member), (y_bar, mean_bar, variance_bar), torch.is_grad_enabled()
        if not again and fused(x, member, *bars):
            from core.models import pool_triton

            return pool_triton.backward(y_bar, mean_bar, variance_bar, x, sets, mean), None, None
        with torch.enable_grad():
            found = _largest(x), *set_statistics(x.flatten(1, 2), sets)
        (x_bar,) = torch.autograd.grad(found, x, bars, create_graph=again)
        return x_bar, None, None


_pooled: Callable[..., tuple[Tensor, Tensor, Tensor]] = _Pooled.apply
