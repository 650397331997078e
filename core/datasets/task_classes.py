"""Which classes the tasks of a meta-batch have: all of one group where there are groups, and each its own number."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor


class TaskClasses(NamedTuple):
    """Of `count` tasks, each with at most `way` classes."""

    chosen: Tensor
    """Classes, int64 [count, way]; beyond a task's number of them its first one again, as padding."""
    ways: Tensor | None
    """How many classes each task has, int64 [count]; None: `way`."""


def draw_classes(
    count: int, way: int, *, classes: int, groups: Tensor | None, way_from: int | None, generator: Generator
) -> TaskClasses:
    """Draws a group for each task, a number of classes from `way_from` to `way`, and that many distinct classes.

    Args:
        count: tasks.
        way: classes of a task, or the most that one may have.
        classes: how many there are.
        groups: the group, from 0, of each class [classes]; None: one group.
        way_from: the fewest classes that a task may have; None: `way`.
        generator: of the draws, each of them uniform.

    Raises:
        ValueError: a group has too few classes.
    """
    keys = torch.rand(count, classes, dtype=torch.float64, generator=generator)
    pool = torch.full((count,), classes)
    smallest = classes
    if groups is not None:
        sizes = torch.bincount(groups)
        drawn = torch.randint(len(sizes), (count,), generator=generator)
        keys = keys.masked_fill(groups != drawn.unsqueeze(1), -1.0)
        pool, smallest = sizes[drawn], int(sizes.min())
    if (way if way_from is None else way_from) > smallest:
        raise ValueError(f"way = {way_from or way}, but the smallest group has {smallest} classes: lower it")
    chosen = keys.topk(min(way, classes)).indices
    if way_from is None:
        return TaskClasses(chosen, None)
    spread = pool.clamp(max=way) - way_from + 1
    ways = way_from + (torch.rand(count, dtype=torch.float64, generator=generator) * spread).long()
    places = torch.arange(way)
    return TaskClasses(chosen.gather(1, torch.where(places < ways.unsqueeze(1), places, 0)), ways)
