"""What conjugate gradient on the inner Hessian of a linear model is preconditioned with (H_c and h_ci of `curvature`).

- One factor: the mean of the blocks serves every class, which is exact where they are alike.
- A factor for each class: a model that is fitted has most of a class's curvature from the few examples of which it is
  not sure whether they are of it, so that P_c = sum over those of h_ci x_i x_i' + D_c is close, D_c being diagonal.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from core.bilevel.linear_models.curvature import Curvature

OTHERS = 0.1
"""The part that counts in D_c of what the other examples add to the diagonal: all is too much where their curvature is
in few directions, nothing too little where it is not. Measured on MNIST and on random labels."""


class Preconditioner(Protocol):
    """R -> R P^-1, for R in single or double precision."""

    def solve(self, r: Tensor) -> Tensor:
        """[C, d], in the precision of R."""
        ...


def preconditioner(hessian: Curvature) -> Preconditioner:
    """The kind that gets less of the curvature wrong, in the precision of the model's data.

    Factors of some examples leave out the others; one factor takes for alike what differs between classes. Both are
    sums over the diagonals of all H_c.
    """
    curved, size = most_curved(hessian), hessian.data.x.flatten(0, -2).square().sum(1)
    left_out = (hessian.own @ size).sum() - (curved.curvature * size[curved.which]).sum()
    differ, strengths = hessian.own - hessian.own.mean(0), hessian.strengths - hessian.strengths.mean(0)
    different = (differ.abs() @ size).sum() + strengths.abs().sum()
    return factor_per_class(hessian, curved) if left_out < different else one_factor(hessian)


@dataclass(frozen=True, eq=False)
class OneFactor:
    """P = 1/C sum_c H_c for every class."""

    factor: Tensor
    """The lower Cholesky factor of P."""

    def solve(self, r: Tensor) -> Tensor:
        """[C, d], in the precision of R."""
        return torch.cholesky_solve(r.mT.to(self.factor.dtype), self.factor).mT.to(r.dtype)


def one_factor(hessian: Curvature) -> OneFactor:
    """n d^2 + d^3 / 3 operations."""
    return OneFactor(_factored(hessian.mean_over_classes()))


@dataclass(frozen=True, eq=False)
class FactorPerClass:
    """P_c = sum_i h_ci x_i x_i' + D_c over the most curved examples of each class.

    Where only differences of scores matter, H (1 x u) is the strengths times u, whatever the loss, which no block of a
    single class can know. That part of R is set apart, and the rest kept free of it (deflation).
    """

    blocks: Callable[[Tensor], Tensor]
    """R -> R_c P_c^-1 for each class."""
    share: Tensor | None
    """What each class has of the strengths of all [C, d]; None: nothing is set apart."""
    total: Tensor
    """What what is set apart is divided by [1, d]."""

    def solve(self, r: Tensor) -> Tensor:
        """[C, d], in the precision of R."""
        if self.share is None:
            return self.blocks(r)
        share, both = self.share.to(r.dtype), r.sum(0, keepdim=True)
        apart = self.blocks(r - share * both)
        return apart - (share * apart).sum(0, keepdim=True) + both / self.total.to(r.dtype)


class Curved(NamedTuple):
    """The k most curved examples of each class."""

    curvature: Tensor
    """Their h_ci [C, k]."""
    which: Tensor
    """Their numbers [C, k]."""


def most_curved(hessian: Curvature) -> Curved:
    """As many as make up half of the data for all classes together, or as cost no more than 16 Hessian products."""
    (classes, n), d = hessian.own.shape, hessian.data.x.shape[-1]
    share = min(max(1 / (2 * classes), 32 / d), 1)
    return Curved(*hessian.own.topk(math.ceil(share * n), 1))


def factor_per_class(hessian: Curvature, curved: Curved) -> FactorPerClass:
    """C k min(k, d) d operations, and 2 C k d numbers while it is made."""
    x = hessian.data.x.flatten(0, -2)
    rows = x[curved.which] * curved.curvature.sqrt().unsqueeze(-1)
    all_examples = hessian.own @ x.square()  # what they add to the diagonals [C, d]
    others = (all_examples - rows.square().sum(1)).clamp(min=0)
    # It may be that nothing else curves a feature: an offset is not regularized.
    strengths = hessian.strengths + torch.finfo(x.dtype).eps * (hessian.strengths + all_examples).mean()
    blocks = (_few_rows if rows.shape[1] < x.shape[1] else _many_rows)(rows, strengths + OTHERS * others)
    # Of an outer objective of differences of scores only rounding is set apart, which strengths alone would blow up.
    total = (strengths + all_examples.mean()).sum(0, keepdim=True)
    return FactorPerClass(blocks, strengths / strengths.sum(0) if hessian.loss.relative else None, total)


def _few_rows(rows: Tensor, diagonal: Tensor) -> Callable[[Tensor], Tensor]:
    """(rows' rows + D)^-1 by the factor of I + Y Y' [C, k, k], Y = rows D^-1/2 (Woodbury)."""
    root = diagonal.sqrt()
    rows = rows / root.unsqueeze(1)
    gram = rows @ rows.mT
    ones = gram.diagonal(dim1=1, dim2=2)  # a view
    ones += 1
    factor = _factored(gram)

    def solve(r: Tensor) -> Tensor:
        q = (r.to(root.dtype) / root).unsqueeze(-1)  # [C, d, 1]
        found: Tensor = q - rows.mT @ torch.cholesky_solve(rows @ q, factor)
        return (found.squeeze(-1) / root).to(r.dtype)

    return solve


def _many_rows(rows: Tensor, diagonal: Tensor) -> Callable[[Tensor], Tensor]:
    """(rows' rows + D)^-1 by its own factor [C, d, d]."""
    factor = _factored(rows.mT @ rows + torch.diag_embed(diagonal))

    def solve(r: Tensor) -> Tensor:
        found: Tensor = torch.cholesky_solve(r.to(factor.dtype).unsqueeze(-1), factor)
        return found.squeeze(-1).to(r.dtype)

    return solve


def _factored(gram: Tensor) -> Tensor:
    """Lower Cholesky factors [..., d, d], with as little added to the diagonal as makes all positive definite."""
    diagonal = gram.diagonal(dim1=-2, dim2=-1)  # a view
    ridge = 10 * torch.finfo(gram.dtype).eps * diagonal.mean()
    for growth in (1, 1e2, 1e4):
        diagonal += growth * ridge
        factor: Tensor
        factor, info = torch.linalg.cholesky_ex(gram)
        if not info.any():
            return factor
    return factor.fill_(torch.nan)  # the model is not finite: neither is what is solved with it
