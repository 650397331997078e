"""2x2 max-pools: of images alone, or with the statistics of a norm that comes behind.

A norm increases, so that it may come after the pool and see a quarter of the pixels; its statistics are those of all.
On a GPU the kernels of `core.models.pool_triton` make them where nothing differentiates or batches them further.
torch's own pool of images that have channels last has no second derivative for many directions at once. `twice` asks
for one that has, for networks whose inner steps are differentiated: it takes out of x what the windows point at.
"""

from functools import partial

import torch.nn.functional as F
from torch import Tensor

from core.models.image_sets import ImageSets
from core.models.kernels import Kernels, computed
from core.models.norm import Statistics, set_statistics


def largest(x: Tensor, *, twice: bool = False) -> Tensor:
    """The largest of each 2x2 window of x [N, height, width, channels], windows that the edges cut off included."""
    (y,) = computed(partial(_alone, twice=twice), _kernels_alone, x)
    return y


def pooled(
    x: Tensor, sets: ImageSets, given: Statistics | None = None, *, twice: bool = False
) -> tuple[Tensor, Statistics]:
    """The largest of each 2x2 window of x [N, height, width, channels], and statistics: those given, or of each set.

    Of an odd height or width the last row or column is in no window.
    """
    if given is not None:
        return _pool(x, cut_off=False, twice=twice), given
    y, *values = computed(partial(_with_moments, twice=twice), _kernels_with_moments, x, *sets)
    return y, Statistics(*values)


def _pool(x: Tensor, *, cut_off: bool, twice: bool) -> Tensor:
    images = x.movedim(-1, 1)
    if not twice:
        return F.max_pool2d(images, 2, ceil_mode=cut_off).movedim(1, -1)
    _, places = F.max_pool2d_with_indices(images.detach(), (2, 2), ceil_mode=cut_off)
    at = places.movedim(1, -1)  # [N, height / 2, width / 2, channels], numbers of pixels
    return x.flatten(1, 2).gather(1, at.flatten(1, 2)).view(at.shape)


def _alone(x: Tensor, *, twice: bool) -> tuple[Tensor, ...]:
    return (_pool(x, cut_off=True, twice=twice),)


def _with_moments(x: Tensor, average: Tensor, member: Tensor, *, twice: bool) -> tuple[Tensor, ...]:
    y = _pool(x, cut_off=False, twice=twice)
    return y, *set_statistics(x.flatten(1, 2), ImageSets(average, member))


def _kernels_alone() -> Kernels:
    from core.models import pool_triton

    return pool_triton.ALONE


def _kernels_with_moments() -> Kernels:
    from core.models import pool_triton

    return pool_triton.WITH_MOMENTS
