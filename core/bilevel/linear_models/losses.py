"""Losses of a linear model's scores s, all of one form: the gradient is mean(s) - target, the Hessian is mean'(s).

softmax: mean = softmax(s); logistic: mean = sigmoid(s), each score by itself; squared: mean = s.
The axis is where the classes are: scores may be [n, C] (axis -1) or class-major [C, n] (axis -2).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Loss(NamedTuple):
    """A loss with the canonical mean function of a generalized linear model."""

    name: str
    value: Callable[[Tensor, Tensor, int], Tensor]
    """(scores, targets, axis) -> losses, without the axis."""
    mean: Callable[[Tensor, int], Tensor]
    """(scores, axis) -> what the model expects the targets to be."""
    slope: Callable[[Tensor, Tensor, Tensor, int], Tensor]
    """(mean, v, scale, axis) -> scale mean'(s) v, like v; mean'(s) is symmetric, the scale one number an example."""
    relative: bool = False
    """Whether mean'(s) v is 0 where v has the same number for all classes: only differences of scores matter."""


def _softmax_slope(p: Tensor, v: Tensor, scale: Tensor, axis: int) -> Tensor:
    weighted = (scale * p) * v
    return torch.addcmul(weighted, p, weighted.sum(axis, keepdim=True), value=-1)


SOFTMAX = Loss(
    "softmax",
    lambda s, y, axis: s.logsumexp(axis) - (y * s).sum(axis),
    lambda s, axis: s.softmax(axis),
    _softmax_slope,
    relative=True,
)
"""Cross-entropy of softmax(s); targets are one-hot, or sum to 1."""

LOGISTIC = Loss(
    "logistic",
    lambda s, y, axis: (functional.softplus(s) - y * s).sum(axis),
    lambda s, axis: s.sigmoid(),
    lambda p, v, scale, axis: (scale * p) * (1 - p) * v,
)
"""Cross-entropy of sigmoid(s), summed over the scores; targets are in [0, 1]."""

SQUARED = Loss(
    "squared",
    lambda s, y, axis: 0.5 * ((s - y) ** 2).sum(axis),
    lambda s, axis: s,
    lambda p, v, scale, axis: scale * v,
)
"""Half the squared error, summed over the scores."""
