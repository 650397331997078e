"""Features of the support and query sets of many tasks, and their labels: what heads of every kind start from.

z = {"support": X [B, n, d], "query": Q [B, q, d], ...}: tasks on the leading axis; other entries of z may hold outer
variables of the heads or of the dynamics. Labels are [B, n] and [B, q], or [n] and [q] where all tasks have the same.

Tasks with different numbers of classes, `ways` [B], are padded to the largest: task j has the classes 0 .. ways_j - 1,
and the examples of the others, which have the label ABSENT, are in none of its means. ways None: all have all classes.
"""

import torch
from torch import Tensor
from torch.nn import functional

from core.bilevel.problem import Tree

ABSENT = -100
"""Label of an example that only pads its set."""


def entry(z: Tree, name: str) -> Tensor:
    """z[name]."""
    if not isinstance(z, dict) or not isinstance(found := z.get(name), Tensor):
        raise ValueError(f"heads need z[{name!r}], for example the features of the sets [tasks, examples, features]")
    return found


def with_one(x: Tensor) -> Tensor:
    """Every feature vector with a 1 appended, whose weight is the bias: [B, n, d + 1]."""
    return torch.cat([x, x.new_ones(1).expand(*x.shape[:-1], 1)], dim=-1)


def one_hot(labels: Tensor, like: Tensor, way: int) -> Tensor:
    """[B, C, n] in the format of `like` [B, n, d]; unlike functional.one_hot it never waits for the device."""
    classes = torch.arange(way, device=labels.device).unsqueeze(-1)
    return (labels.expand(like.shape[:2]).unsqueeze(1) == classes).to(like.dtype)


def padded(whole: Tensor, ways: Tensor) -> Tensor:
    """Labels [B, n] of sets of tasks with `ways` [B] classes; `whole` [n] are those of a set of all classes."""
    return torch.where(whole < ways.unsqueeze(1), whole, ABSENT)


def shares(labels: Tensor, like: Tensor) -> Tensor:
    """What an example of `like` [B, n, d] counts in the mean of its set, [B, n, 1], 0 if it pads; [] if all alike."""
    if labels.dim() == 1:
        return like.new_full((), 1 / like.shape[1])
    there = (labels != ABSENT).expand(like.shape[:2]).unsqueeze(-1).to(like.dtype)
    return there / there.sum(1, keepdim=True)


def absent(ways: Tensor, way: int) -> Tensor:
    """Which of the classes 0 .. way - 1 a task does not have, bool [B, C]."""
    return torch.arange(way, device=ways.device) >= ways.unsqueeze(1)


def masked(logits: Tensor, ways: Tensor | None) -> Tensor:
    """Logits [B, n, C], -inf for classes that a task does not have."""
    if ways is None:
        return logits
    return logits.masked_fill(absent(ways, logits.shape[-1]).unsqueeze(1), -torch.inf)


def mean_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy [B] over the examples that each task has; logits [B, n, C], masked."""
    flat = labels.expand(logits.shape[:2]).reshape(-1)
    each = functional.cross_entropy(logits.flatten(0, 1), flat, reduction="none", ignore_index=ABSENT)
    return each.view(logits.shape[:2]).sum(1) / (labels != ABSENT).sum(-1)


def cross_entropy(logits: Tensor, labels: Tensor, ways: Tensor | None = None) -> Tensor:
    """Mean over tasks of the mean over their examples; logits [B, n, C]."""
    if ways is not None:
        return mean_losses(masked(logits, ways), labels).mean()
    flat = labels.expand(logits.shape[:2]).reshape(-1)
    return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), flat)
