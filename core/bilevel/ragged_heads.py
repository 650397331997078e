"""Linear softmax heads of tasks with different numbers of classes, padded to the largest; w_0 = 0.

Task j has the classes 0 .. C_j - 1 and n_j support and q_j query examples. Scores of the other classes are left out of
its softmax; the other examples, which have the label ABSENT, are left out of its loss. Their weights stay 0:

L(w) = sum_j 1/n_j sum_{i < n_j} l_ij(w_j) + l2/2 ||w||^2,   E(w) = 1/B sum_j 1/q_j sum_{i < q_j} l_ij(w_j),

which are those of `softmax_heads` where all tasks have as many classes. z is as there.
"""

import torch
from torch import Tensor
from torch.nn import functional

from core.bilevel import softmax_heads, trees
from core.bilevel.episode_features import entry
from core.bilevel.problem import Tree

ABSENT = -100
"""Label of an example that only pads its set."""


def labels(whole: Tensor, ways: Tensor) -> Tensor:
    """Labels [B, n] of sets of tasks with `ways` [B] classes; `whole` [n] are those of a set of all classes."""
    return torch.where(whole < ways.unsqueeze(1), whole, ABSENT)


def scores(w: Tree, x: Tensor, ways: Tensor) -> Tensor:
    """Logits [B, n, C] of the heads w for the features x [B, n, d]; -inf for classes that a task does not have."""
    found = softmax_heads.scores(w, x)
    classes = torch.arange(found.shape[-1], device=found.device)
    return found.masked_fill(classes >= ways[:, None, None], -torch.inf)


def mean_losses(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy [B] over the examples that each task has; scores [B, n, C], labels [B, n]."""
    flat = functional.cross_entropy(scores.flatten(0, 1), labels.flatten(), reduction="none", ignore_index=ABSENT)
    return flat.view(labels.shape).sum(1) / (labels != ABSENT).sum(1)


def inner_objective(w: Tree, z: Tree, *, support_labels: Tensor, ways: Tensor, l2: float = 0.0) -> Tensor:
    """Sum over tasks of the mean cross-entropy of the support set, + l2/2 ||w||^2."""
    loss = mean_losses(scores(w, entry(z, "support"), ways), support_labels).sum()
    return loss + l2 / 2 * trees.dot(w, w) if l2 else loss


def outer_objective(w: Tree, z: Tree, *, query_labels: Tensor, ways: Tensor) -> Tensor:
    """Mean over tasks of the mean cross-entropy of the query set."""
    return mean_losses(scores(w, entry(z, "query"), ways), query_labels).mean()
