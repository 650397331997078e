"""Prototypes of the classes of many tasks, the mean support features of each (Snell, Swersky and Zemel 2017).

They minimize the inner objective, sum over tasks of 1/(2n) sum_i ||x_i - w_{y_i}||^2, n the examples that a task has,
whose Hessian by w [B, C, d] is 1/C of the identity where classes are of equal size; the source has no inner problem.
Outer objective: mean over tasks of the mean cross-entropy of the scores -||q - w_c||^2. w_0 = 0.
z = {"support": X [B, n, d], "query": Q [B, q, d]}.
"""

from torch import Tensor

from core.bilevel.episode_features import absent, cross_entropy, entry, one_hot, shares
from core.bilevel.problem import Tree


def init(z: Tree, *, way: int) -> Tensor:
    """w_0 = 0 [B, C, d]."""
    x = entry(z, "support")
    return x.new_zeros(x.shape[0], way, x.shape[2])


def scores(w: Tree, z: Tree) -> Tensor:
    """2 <q, w_c> - ||w_c||^2 [B, q, C]: -||q - w_c||^2 but for ||q||^2, which is the same for all classes."""
    assert isinstance(w, Tensor)
    return 2 * entry(z, "query") @ w.mT - w.square().sum(-1).unsqueeze(1)


def inner_objective(w: Tree, z: Tree, *, support_labels: Tensor, way: int, ways: Tensor | None = None) -> Tensor:
    """Sum over tasks of half the mean squared distance of the support features to the prototypes of their classes.

    Prototypes of classes that a task does not have are drawn to 0, where they are, so that the minimizer is one.
    """
    assert isinstance(w, Tensor)
    x = entry(z, "support")
    own = one_hot(support_labels, x, way).mT @ w  # w_{y_i} [B, n, d]
    loss = (shares(support_labels, x) * (x - own).square()).sum() / 2
    if ways is None:
        return loss
    return loss + (absent(ways, way).unsqueeze(-1) * w.square()).sum() / (2 * way)


def outer_objective(w: Tree, z: Tree, *, query_labels: Tensor, ways: Tensor | None = None) -> Tensor:
    """Mean over tasks of the mean cross-entropy of the query set."""
    return cross_entropy(scores(w, z), query_labels, ways)


def solution(z: Tree, *, support_labels: Tensor, way: int) -> Tensor:
    """The class means [B, C, d]; 0 for a class without examples."""
    x = entry(z, "support")
    members = one_hot(support_labels, x, way)
    return (members @ x) / members.sum(-1, keepdim=True).clamp(min=1)
