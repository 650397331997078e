"""Which images share the statistics of a norm: the support and query sets of a meta-batch, one behind the other."""

from typing import NamedTuple

import torch
from torch import Tensor


class ImageSets(NamedTuple):
    """S sets that N images are divided into, as two products with matrices."""

    average: Tensor
    """[S, N]: from images to the means of their sets."""
    member: Tensor
    """[N, S]: from sets to each of their images."""


def image_sets(*groups: tuple[int, int], device: torch.device, dtype: torch.dtype) -> ImageSets:
    """For each group (count, size) that many sets of that many consecutive images each; it never waits for the device.

    Args:
        groups: counts and sizes, in the order of the images.
        device: where the images are.
        dtype: format of the statistics.
    """
    numbers, first = [], 0
    for count, size in groups:
        numbers.append(torch.arange(first, first + count, device=device).repeat_interleave(size))
        first += count
    member = (torch.cat(numbers).unsqueeze(-1) == torch.arange(first, device=device)).to(dtype)
    return ImageSets((member / member.sum(0)).mT, member)
