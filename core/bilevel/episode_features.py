"""Features of the support and query sets of many tasks, and their labels: what heads of every kind start from.

z = {"support": X [B, n, d], "query": Q [B, q, d], ...}: tasks on the leading axis; other entries of z may hold outer
variables of the heads or of the dynamics. Labels are [B, n] and [B, q], or [n] and [q] where all tasks have the same.
"""

import torch
from torch import Tensor
from torch.nn import functional

from core.bilevel.problem import Tree


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


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over tasks and examples; logits [B, n, C]."""
    flat = labels.expand(logits.shape[:2]).reshape(-1)
    return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), flat)
