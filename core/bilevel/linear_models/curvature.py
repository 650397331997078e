"""The inner Hessian of a linear model at one place, and a preconditioner of it: one factor for all classes.

hess L V = (scale mean'(scores) V x') x + strength * V is close to V P with the mean curvature over the classes,
P = x' diag(scale_i c_i) x + diag(mean strength) [d, d],  c_i = 1/C trace mean'(x_i W).
"""

from dataclasses import dataclass, replace

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

    def mean_over_classes(self) -> Tensor:
        """P [d, d]; its entry for the offset, which is not regularized, is the mean curvature of the examples."""
        x = self.data.x.flatten(0, -2)  # [n, d]
        weighted = x * self._traces().flatten().clamp(min=0).sqrt().unsqueeze(-1)
        gram = weighted.mT @ weighted
        diagonal = gram.diagonal()  # a view
        diagonal += self.strengths.mean(0)
        return gram

    def _traces(self) -> Tensor:
        """scale_i c_i, [k, 1, m]: `slope` along the unit vector of a class has the class's own part in its row."""
        classes = self.mean.shape[-2]
        units = torch.eye(classes, dtype=self.mean.dtype, device=self.mean.device).unsqueeze(-1)  # [C, C, 1]
        own = [
            self.loss.slope(self.mean, unit.expand_as(self.mean), self.scale, -2)[..., c, :]
            for c, unit in enumerate(units)
        ]
        return torch.stack(own).mean(0).unsqueeze(-2)


def curvature(model: LinearModel, w: Tree, lam: Tree, damping: float = 0.0) -> Curvature:
    """The Hessian at the model's tree w."""
    data, c = model.class_major, coefficients(model, 0.0, lam)
    mean = model.loss.mean(data.scores(model.matrix(w).mT), -2)
    return Curvature(data, model.loss, mean, c.scale, c.strengths + damping)


@dataclass(frozen=True, eq=False)
class Preconditioner:
    """R -> R P^-1, for R in single or double precision."""

    factor: Tensor
    """The lower Cholesky factor of P."""

    def solve(self, r: Tensor) -> Tensor:
        """[C, d], in the precision of R."""
        return torch.cholesky_solve(r.mT.to(self.factor.dtype), self.factor).mT.to(r.dtype)


def preconditioner(hessian: Curvature) -> Preconditioner:
    """Factors P, with as little added to its diagonal as makes it positive definite in its precision."""
    gram = hessian.mean_over_classes()
    diagonal = gram.diagonal()  # a view
    ridge = 10 * torch.finfo(gram.dtype).eps * diagonal.mean()
    for growth in (1, 1e2, 1e4):
        diagonal += growth * ridge
        factor, info = torch.linalg.cholesky_ex(gram)
        if info == 0:
            return Preconditioner(factor)
    return Preconditioner(factor.fill_(torch.nan))  # the model is not finite: neither is what is solved with it
