"""Samples episodes: few-shot classification tasks with disjoint support and query sets."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from core.datasets.augmentation import Augmentation
from core.datasets.task_classes import draw_classes


class Episodes(NamedTuple):
    """A meta-batch of B tasks; pixels in [0, 1]; examples are ordered by class."""

    support: Tensor
    """[B, way * shot, channels, side, side]."""
    query: Tensor
    """[B, way * query, channels, side, side]."""
    support_labels: Tensor
    """[way * shot], the same for all tasks."""
    query_labels: Tensor
    """[way * query], the same for all tasks."""
    ways: Tensor | None = None
    """How many classes each task has, int64 [B], where that differs: the rest of its sets only pads them."""

    def sets(self) -> dict[str, Tensor]:
        """The images by name; no query sets where they are empty."""
        return {"support": self.support, **({"query": self.query} if self.query.shape[1] else {})}

    def split(self, size: int) -> Iterator["Episodes"]:
        """The same tasks, `size` at a time."""
        for first in range(0, len(self.support), size):
            rows = slice(first, first + size)
            ways = None if self.ways is None else self.ways[rows]
            yield self._replace(support=self.support[rows], query=self.query[rows], ways=ways)


def joined(parts: Sequence[Episodes]) -> Episodes:
    """The tasks of several meta-batches of the same sizes, in one; of one meta-batch, itself."""
    if len(parts) == 1:
        return parts[0]
    ways = [part.ways for part in parts if part.ways is not None]
    return parts[0]._replace(
        support=torch.cat([part.support for part in parts]),
        query=torch.cat([part.query for part in parts]),
        ways=torch.cat(ways) if ways else None,
    )


def sample_episodes(
    images: Tensor,
    *,
    way: int,
    shot: int,
    query: int,
    count: int,
    generator: Generator,
    dtype: torch.dtype = torch.float32,
    groups: Tensor | None = None,
    way_from: int | None = None,
    augmentation: Augmentation | None = None,
) -> Episodes:
    """Draws `count` tasks from images u8 [classes, images a class, channels, side, side], or from their features.

    The classes of a task are distinct and drawn uniformly; so are the images of a class. The draws are made on the
    CPU by `generator`, which makes them the same on every device. With `groups` [classes] the classes of a task are of
    one group, and with `way_from` a task has that many to `way` of them: see `draw_classes`. Features [classes, images
    a class, d] are no bytes, and stay as they are. `augmentation` changes each image as it is drawn.

    Raises:
        ValueError: there are fewer classes than `way`, or fewer images a class than `shot + query`.
    """
    classes, available = images.shape[:2]
    if (way_from or way) > classes or shot + query > available:
        raise ValueError(
            f"way = {way} of {classes} classes and shot + query = {shot + query} of {available} images: lower them"
        )
    if groups is None and way_from is None:
        chosen, ways = _distinct((count,), classes, way, generator), None
    else:
        chosen, ways = draw_classes(count, way, classes=classes, groups=groups, way_from=way_from, generator=generator)
    examples = _distinct((count, way), available, shot + query, generator)
    # Without waiting for the device, which may be at work on the hyperiteration before.
    rows, columns = (index.to(images.device, non_blocking=True) for index in (chosen.unsqueeze(-1), examples))
    pixels = images[rows, columns]  # [B, way, shot + query, channels, side, side]
    drawn = pixels.to(dtype).div_(255) if images.dtype == torch.uint8 else pixels
    drawn = drawn if augmentation is None else augmentation(drawn, generator)
    labels = torch.arange(way, device=images.device)
    return Episodes(
        drawn[:, :, :shot].flatten(1, 2),
        drawn[:, :, shot:].flatten(1, 2),
        labels.repeat_interleave(shot),
        labels.repeat_interleave(query),
        None if ways is None else ways.to(images.device, non_blocking=True),
    )


def _distinct(batch: tuple[int, ...], population: int, size: int, generator: Generator) -> Tensor:
    """`size` distinct numbers below `population`, uniformly and in random order, for each element of the batch."""
    keys = torch.rand(*batch, population, dtype=torch.float64, generator=generator)
    return keys.topk(size).indices
