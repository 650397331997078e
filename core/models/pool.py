"""2x2 max-pools: of images alone, or with the statistics of a norm that comes behind.

A norm increases, so that it may come after the pool and see a quarter of the pixels; its statistics are those of all.
On a GPU the kernels of `core.models.pool_triton` make them where nothing differentiates or batches them further.
"""

import torch.nn.functional as F
from torch import Tensor

from core.models.image_sets import ImageSets
from core.models.kernels import Kernels, computed
from core.models.norm import Statistics, set_statistics


def largest(x: Tensor) -> Tensor:
    """The largest of each 2x2 window of x [N, height, width, channels], windows that the edges cut off included."""
    (y,) = computed(_alone, _kernels_alone, x)
    return y


def pooled(x: Tensor, sets: ImageSets, given: Statistics | None = None) -> tuple[Tensor, Statistics]:
    """The largest of each 2x2 window of x [N, height, width, channels], and statistics: those given, or of each set.

    Of an odd height or width the last row or column is in no window.
    """
    if given is not None:
        return _pool(x, cut_off=False), given
    y, *values = computed(_with_moments, _kernels_with_moments, x, *sets)
    return y, Statistics(*values)


def _pool(x: Tensor, *, cut_off: bool) -> Tensor:
    return F.max_pool2d(x.movedim(-1, 1), 2, ceil_mode=cut_off).movedim(1, -1)


def _alone(x: Tensor) -> tuple[Tensor, ...]:
    return (_pool(x, cut_off=True),)


def _with_moments(x: Tensor, average: Tensor, member: Tensor) -> tuple[Tensor, ...]:
    return _pool(x, cut_off=False), *set_statistics(x.flatten(1, 2), ImageSets(average, member))


def _kernels_alone() -> Kernels:
    from core.models import pool_triton

    return pool_triton.ALONE


def _kernels_with_moments() -> Kernels:
    from core.models import pool_triton

    return pool_triton.WITH_MOMENTS
