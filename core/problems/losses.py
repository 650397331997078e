"""Losses of single examples, and the metrics that tables are scored by."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from core.problems.instance import Metric, metric

Loss = Callable[[Tensor, Tensor], Tensor]
"""(scores [n, outputs], targets [n]) -> losses [n]."""


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """-log softmax(scores)[label]."""
    return functional.cross_entropy(scores, labels, reduction="none")


def logistic(scores: Tensor, labels: Tensor) -> Tensor:
    """log(1 + exp(-sign score)) of one score [n, 1], with the sign + for the class 1 and - for the class 0."""
    return functional.softplus(scores.squeeze(-1) * (1 - 2 * labels))


def squared(scores: Tensor, targets: Tensor) -> Tensor:
    """Half the squared error, summed over the outputs; class numbers stand for their one-hot vectors."""
    return 0.5 * ((scores - desired(targets, scores.shape[-1], scores.dtype)) ** 2).sum(-1)


def desired(targets: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
    """Targets [n] as the scores [n, outputs] that have no squared error."""
    if targets.is_floating_point():
        return targets.unsqueeze(-1)
    return functional.one_hot(targets, outputs).to(dtype)


def classification(scores: Tensor, labels: Tensor, loss: Loss) -> dict[str, Metric]:
    """Accuracy (a fraction) and loss."""
    chosen = (scores.squeeze(-1) > 0).long() if scores.shape[-1] == 1 else scores.argmax(-1)
    return {
        "accuracy": metric((chosen == labels).double()),
        "loss": metric(loss(scores, labels)),
    }


def regression(scores: Tensor, targets: Tensor, loss: Loss, unit: float) -> dict[str, Metric]:
    """Loss of standardized targets, and the absolute error in the targets' own units (`unit` is their deviation)."""
    return {
        "loss": metric(loss(scores, targets)),
        "absolute_error": metric((scores.squeeze(-1) - targets).abs() * unit),
    }
