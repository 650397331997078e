"""Linear heads of many tasks by ridge regression onto one-hot targets (R2D2, Bertinetto et al. 2019).

Inner objective: sum over tasks of 1/(2n) ||X W - Y||^2 + s/2 ||W||^2, X [n, d + 1] with a 1 appended to every feature
vector, Y [n, C], s the strength, n the examples that a task has. Its minimizer by the n x n form, with X, Y over
sqrt(n), W = X'(XX' + s I)^-1 Y: n^2 d + n^3 / 3 a task, where the normal equations take d^3. Outer objective: mean over
tasks of the mean cross-entropy of a Q W + b.

z = {"support", "query", "log_strength": log s, "scale": a, "offset": b}. W starts at 0, [B, d + 1, C].
"""

import math

import torch
from torch import Tensor

from core.bilevel import softmax_heads, trees
from core.bilevel.episode_features import cross_entropy, entry, one_hot, shares, with_one
from core.bilevel.problem import Tree
from core.bilevel.transforms import positive


def strength(z: Tree) -> Tensor:
    """s []."""
    return positive.forward(entry(z, "log_strength"))


def scores(w: Tree, z: Tree) -> Tensor:
    """a Q W + b [B, q, C]."""
    return entry(z, "scale") * softmax_heads.scores(w, entry(z, "query")) + entry(z, "offset")


def inner_objective(w: Tree, z: Tree, *, support_labels: Tensor, way: int) -> Tensor:
    """Sum over tasks of 1/(2n) ||X W - Y||^2 + s/2 ||W||^2."""
    x = entry(z, "support")
    errors = softmax_heads.scores(w, x) - one_hot(support_labels, x, way).mT
    return (shares(support_labels, x) * errors.square()).sum() / 2 + strength(z) / 2 * trees.dot(w, w)


def outer_objective(w: Tree, z: Tree, *, query_labels: Tensor, ways: Tensor | None = None) -> Tensor:
    """Mean over tasks of the mean cross-entropy of the query set."""
    return cross_entropy(scores(w, z), query_labels, ways)


def solution(z: Tree, *, support_labels: Tensor, way: int) -> Tensor:
    """W [B, d + 1, C]; NaN in a task whose system is singular or not finite."""
    features = entry(z, "support")
    root = shares(support_labels, features).sqrt()
    x, y = root * with_one(features), root * one_hot(support_labels, features, way).mT
    ridge = strength(z) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    dual, info = torch.linalg.solve_ex(x @ x.mT + ridge, y)
    return x.mT @ torch.where(info[:, None, None] == 0, dual, math.nan)
