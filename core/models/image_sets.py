"""Images as networks take them: which share the statistics of a norm, and how they lie in memory.

The sets are the support and query sets of a meta-batch, one behind the other.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class ImageSets(NamedTuple):
    """S sets that N images are divided into, as two products with matrices."""

    average: Tensor
    """[S, N]: from images to the means of their sets."""
    member: Tensor
    """[N, S]: from sets to each of their images."""


def image_sets(
    *groups: tuple[int, int], device: torch.device, dtype: torch.dtype, present: Tensor | None = None
) -> ImageSets:
    """For each group (count, size) that many sets of that many consecutive images each; it never waits for the device.

    Args:
        groups: counts and sizes, in the order of the images.
        device: where the images are.
        dtype: format of the statistics.
        present: bool [N], False for images that are in no set: padding, of which a norm makes zeros.
    """
    numbers, first = [], 0
    for count, size in groups:
        numbers.append(torch.arange(first, first + count, device=device).repeat_interleave(size))
        first += count
    member = (torch.cat(numbers).unsqueeze(-1) == torch.arange(first, device=device)).to(dtype)
    if present is not None:
        member = member * present.unsqueeze(-1)
    return ImageSets((member / member.sum(0)).mT, member)


def one_set(x: Tensor) -> ImageSets:
    """All images x in one set, with statistics in float32 at least."""
    return image_sets((1, len(x)), device=x.device, dtype=torch.promote_types(x.dtype, torch.float32))


def channels_last(x: Tensor) -> Tensor:
    """The same images with the channels of a pixel side by side: the layout that convolutions then keep.

    It says so even of one channel, where to.memory_format and contiguous() see nothing to do.
    """
    return x.movedim(1, -1).reshape(len(x), -1).view(len(x), *x.shape[2:], x.shape[1]).movedim(-1, 1)
