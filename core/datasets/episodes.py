"""Samples episodes: few-shot classification tasks with disjoint support and query sets."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor


class Episodes(NamedTuple):
    """A meta-batch of B tasks; pixels in [0, 1], ink = 1; examples are ordered by class."""

    support: Tensor
    """[B, way * shot, channels, side, side]."""
    query: Tensor
    """[B, way * query, channels, side, side]."""
    support_labels: Tensor
    """[way * shot], the same for all tasks."""
    query_labels: Tensor
    """[way * query], the same for all tasks."""


def sample_episodes(
    images: Tensor,
    *,
    way: int,
    shot: int,
    query: int,
    count: int,
    generator: Generator,
    dtype: torch.dtype = torch.float32,
) -> Episodes:
    """Draws `count` tasks from images u8 [classes, images a class, channels, side, side].

    The classes of a task are distinct and drawn uniformly; so are the images of a class. The draws are made on the
    CPU by `generator`, which makes them the same on every device.

    Raises:
        ValueError: there are fewer classes than `way`, or fewer images a class than `shot + query`.
    """
    classes, available = images.shape[:2]
    if way > classes or shot + query > available:
        raise ValueError(
            f"way = {way} of {classes} classes and shot + query = {shot + query} of {available} images: lower them"
        )
    chosen = _distinct((count,), classes, way, generator)
    examples = _distinct((count, way), available, shot + query, generator)
    # Without waiting for the device, which may be at work on the hyperiteration before.
    rows, columns = (index.to(images.device, non_blocking=True) for index in (chosen.unsqueeze(-1), examples))
    drawn = images[rows, columns].to(dtype).div_(255)  # [B, way, shot + query, channels, side, side]
    labels = torch.arange(way, device=images.device)
    return Episodes(
        drawn[:, :, :shot].flatten(1, 2),
        drawn[:, :, shot:].flatten(1, 2),
        labels.repeat_interleave(shot),
        labels.repeat_interleave(query),
    )


def _distinct(batch: tuple[int, ...], population: int, size: int, generator: Generator) -> Tensor:
    """`size` distinct numbers below `population`, uniformly and in random order, for each element of the batch."""
    keys = torch.rand(*batch, population, dtype=torch.float64, generator=generator)
    return keys.topk(size).indices
