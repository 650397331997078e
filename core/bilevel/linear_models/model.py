"""The inner problem of a linear model, whose gradient `core.bilevel.linear_models.walk` takes as it is written here.

L(W, lam) = 1/n sum_i weight_i(lam) loss(x_i W, y_i) + 1/2 sum_jc strength_jc(lam) W_jc^2
grad L    = X'R + strength * W,                R_i = weight_i/n (mean(x_i W) - y_i)
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from core.bilevel.linear_models.class_major import ClassMajor, class_major
from core.bilevel.linear_models.losses import Loss
from core.bilevel.problem import Tree


@dataclass(frozen=True, eq=False)
class LinearModel:
    """A linear model and the data it is fitted to; w is {"weight": [d, C], "bias": [C]}, the bias optional."""

    x: Tensor
    """Features [n, d], or [n, d + 1] with a last column of ones where there is an offset."""
    targets: Tensor
    """What the scores should be, [n, C]: one-hot rows for classes."""
    loss: Loss
    strengths: Callable[[Tree], Tensor]
    """lam -> strengths of the quadratic penalty, broadcastable to W; 0 where W is not penalized (offsets)."""
    weights: Callable[[Tree], Tensor] | None = None
    """lam -> weights of the examples [n]; by default all are 1."""
    offset: bool = False
    """Whether the last row of W is the offset."""

    def matrix(self, w: Tree) -> Tensor:
        """W [d, C], or [d + 1, C] with the offset as its last row."""
        assert isinstance(w, dict)
        weight, bias = w["weight"], w.get("bias")
        assert isinstance(weight, Tensor)
        return torch.cat([weight, bias[None]]) if isinstance(bias, Tensor) else weight

    def tree(self, matrix: Tensor) -> Tree:
        """The inverse of `matrix`."""
        return {"weight": matrix[:-1], "bias": matrix[-1]} if self.offset else {"weight": matrix}

    def __post_init__(self) -> None:
        """Arranges the data now: what is first made under a transform of torch.func would stay wrapped by it."""
        _ = self.class_major

    @cached_property
    def class_major(self) -> ClassMajor:
        """The data as the walk reads them."""
        return class_major(self.x, self.targets)

    def scale(self, lam: Tree) -> Tensor:
        """weight_i / n as a column [n, 1]; [] where there are no weights."""
        if self.weights is None:
            return self.x.new_tensor(1 / len(self.x))
        return self.weights(lam).unsqueeze(-1) / len(self.x)

    def objective(self, w: Tree, lam: Tree) -> Tensor:
        """L at the tree w, a scalar that torch may differentiate: the inner objective of a `Problem`."""
        matrix = self.matrix(w)
        losses = self.loss.value(self.x @ matrix, self.targets, -1)
        fit = (self.scale(lam) * losses.unsqueeze(-1)).sum()
        return fit + 0.5 * (self.strengths(lam) * matrix**2).sum()
