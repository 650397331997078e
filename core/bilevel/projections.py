"""Euclidean projections of a tensor onto convex sets: argmin over the set of ||y - x||; and projections of trees.

They are for the `project` of an `Instance`, of problems here and of packages of one's own.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.problem import Tree


def in_order(project: Callable[[Tree], Tree]) -> Callable[[Tree], Tree]:
    """The same projection of outer variables, which come back in the order of keys that they had.

    Raises:
        ValueError: they come back in another structure.
    """

    def ordered(lam: Tree) -> Tree:
        _, structure = trees.flatten(lam)
        try:
            found = trees.leaves_as(structure, project(lam))
        except ValueError as error:
            raise ValueError(f"`project` has to return a tree like the outer variables: {error}") from error
        return trees.unflatten(found, structure)

    return ordered


def box(x: Tensor, low: float, high: float) -> Tensor:
    """Onto {y: low <= y_i <= high}."""
    if not low <= high:
        raise ValueError(f"the box is empty: low = {low} is above high = {high}")
    return x.clamp(low, high)


def nonnegative(x: Tensor) -> Tensor:
    """Onto {y: y_i >= 0}."""
    return x.clamp(min=0)


def simplex(x: Tensor, total: float = 1.0) -> Tensor:
    """Onto {y: y_i >= 0, sum y = total}, all entries of the tensor together (Held et al. 1974).

    y = max(x - tau, 0), with tau the mean excess of the entries that stay positive.
    """
    _positive("total", total)
    ordered = x.reshape(-1).sort(descending=True).values
    count = torch.arange(1, ordered.numel() + 1, dtype=x.dtype, device=x.device)
    thresholds = (ordered.cumsum(0) - total) / count
    support = (ordered > thresholds).sum().clamp(min=1)
    return (x - thresholds[support - 1]).clamp(min=0)


def l1_ball(x: Tensor, radius: float) -> Tensor:
    """Onto {y: sum |y_i| <= radius} (Duchi et al. 2008): the simplex, with the signs of x."""
    _positive("radius", radius)
    outside = simplex(x.abs(), radius) * x.sign()
    return torch.where(x.abs().sum() <= radius, x, outside)


def box_with_bounded_sum(x: Tensor, total: float, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Onto {y: low <= y_i <= high, sum y <= total}: weights of examples whose sum is bounded.

    y = clip(x - tau, low, high), with tau = 0 where that sum is small enough, else the tau at which it is `total`. The
    sum falls with tau and is piecewise linear; its kinks are x_i - high and x_i - low.
    """
    floor = low * x.numel()
    if not low <= high or not floor <= total:
        raise ValueError(f"the set is empty: it needs low = {low} <= high = {high} and total = {total} >= {floor}")
    clipped = x.clamp(low, high)
    entries = x.reshape(-1).double()  # the running sum below cancels: single precision loses tau among many entries
    kinks, order = torch.cat([entries - high, entries - low]).sort()
    slope_changes = torch.ones_like(kinks)
    slope_changes[order >= entries.numel()] = -1  # an entry that has reached `low` no longer moves
    moving = slope_changes.cumsum(0)  # entries strictly inside the box after each kink
    sums = high * entries.numel() - torch.cat([kinks.new_zeros(1), (moving[:-1] * kinks.diff()).cumsum(0)])
    last = (sums > total).sum().clamp(min=1) - 1  # the sum reaches `total` after this kink
    tau = kinks[last] + (sums[last] - total) / moving[last].clamp(min=1)
    return torch.where(clipped.sum() <= total, clipped, (x - tau).clamp(low, high))


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} is {value}: it has to be positive")
