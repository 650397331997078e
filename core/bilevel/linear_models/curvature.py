"""The inner Hessian of a linear model at one place.

hess L V = (scale mean'(scores) V x') x + strength * V, whose block of class c is
H_c = sum_i h_ci x_i x_i' + diag(strength_c) [d, d], h_ci = scale_i mean'(x_i W)_cc.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from core.bilevel.linear_models.class_major import ClassMajor
from core.bilevel.linear_models.losses import Loss
from core.bilevel.linear_models.model import LinearModel
from core.bilevel.linear_models.walk import coefficients
from core.bilevel.problem import Tree


@dataclass(frozen=True, eq=False)
class Curvature:
    """(hess L + damping I) at one (W, lam); V is [C, d], as everything class-major."""

    data: ClassMajor
    loss: Loss
    mean: Tensor
    """What the model expects the targets to be, [k, C, m]."""
    scale: Tensor
    """[k, 1, m]."""
    strengths: Tensor
    """[C, d], the damping added."""

    def product(self, v: Tensor) -> Tensor:
        """(hess L + damping I) V."""
        curved = self.loss.slope(self.mean, self.data.scores(v), self.scale, -2)
        return torch.addcmul(self.data.pull(curved), self.strengths, v)

    def within(self, data: ClassMajor) -> "Curvature":
        """The same in the precision of `data`, which are the same data in another one."""
        mean, scale, strengths = (part.to(data.x.dtype) for part in (self.mean, self.scale, self.strengths))
        return replace(self, data=data, mean=mean, scale=scale, strengths=strengths)

    @cached_property
    def own(self) -> Tensor:
        """h [C, n]: `slope` along the unit vector of a class has the class's own part in its row."""
        classes = self.mean.shape[-2]
        units = torch.eye(classes, dtype=self.mean.dtype, device=self.mean.device).unsqueeze(-1)  # [C, C, 1]
        rows = [
            self.loss.slope(self.mean, unit.expand_as(self.mean), self.scale, -2)[..., c, :].flatten()
            for c, unit in enumerate(units)
        ]
        return torch.stack(rows).clamp(min=0)

    def mean_over_classes(self) -> Tensor:
        """1/C sum_c H_c [d, d]; its entry for the offset, which is not regularized, is the examples' mean curvature."""
        x = self.data.x.flatten(0, -2)  # [n, d]
        weighted = x * self.own.mean(0).sqrt().unsqueeze(-1)
        gram = weighted.mT @ weighted
        diagonal = gram.diagonal()  # a view
        diagonal += self.strengths.mean(0)
        return gram


def curvature(model: LinearModel, w: Tree, lam: Tree, damping: float = 0.0) -> Curvature:
    """The Hessian at the model's tree w."""
    data, c = model.class_major, coefficients(model, 0.0, lam)
    mean = model.loss.mean(data.scores(model.matrix(w).mT), -2)
    return Curvature(data, model.loss, mean, c.scale, c.strengths + damping)
