"""Regularization strengths by cross-validation (Franceschi et al. 2018, appendix B).

f(lam) = 1/K sum_k E_k(w^k(lam)), w^k(lam) = argmin_w L_k(w, lam), with E_k the mean loss of fold k and L_k the mean
loss of all others, + 1/2 sum_j exp(lam_j) w_j^2. The K inner problems are one: w has a leading axis for the folds and
L = sum_k L_k, so that a step on L is a step on each L_k.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.derivatives import taking
from core.bilevel.dynamics import full_batch
from core.bilevel.finite_sum import ALL
from core.bilevel.problem import Dynamics, Problem, Tree
from core.bilevel.randomness import stream
from core.datasets.splits import Examples
from core.models.model import Model
from core.problems import losses, tables
from core.problems.fit_gradient import with_fit_gradient
from core.problems.inner import Inner
from core.problems.instance import LOWEST_LOSS, Context, Evaluation, Instance, Metrics
from core.problems.regularization import (
    initial,
    loss_of,
    natural,
    penalized,
    penalty,
    ridge,
    scores_loss,
    start_of,
    strength_of,
    targets_of,
)
from core.spec import problems as spec


class Folds(NamedTuple):
    """The examples that are folded, and the share that each has in the means of each fold."""

    x: Tensor
    """[n, d]."""
    y: Tensor
    """[n]."""
    held_out: Tensor
    """Whether fold k holds the example out, [K, n]."""

    def number(self) -> Tensor:
        """The fold of each example, [n]."""
        return self.held_out.long().argmax(0)

    def train_shares(self) -> Tensor:
        """[K, n]; a row sums to 1."""
        return _shares(~self.held_out, self.x.dtype)

    def validation_shares(self) -> Tensor:
        """[K, n]; a row sums to 1."""
        return _shares(self.held_out, self.x.dtype)


def _shares(chosen: Tensor, dtype: torch.dtype) -> Tensor:
    return chosen.to(dtype) / chosen.sum(1, keepdim=True)


def fold(examples: Examples, count: int, seed: int) -> Folds:
    """Every example in one fold, drawn by the seed; the sizes of the folds differ by one at most."""
    n = len(examples.x)
    numbers = torch.empty(n, dtype=torch.int64)
    numbers[torch.randperm(n, generator=stream(seed, "folds"))] = torch.arange(n) % count
    held_out = numbers == torch.arange(count).unsqueeze(1)
    return Folds(examples.x, examples.y, held_out.to(examples.x.device))


@dataclass(frozen=True)
class Fitting:
    """Models of one kind, each fitted to the shares of the examples that it is given."""

    problem: spec.Regularization
    model: Model
    folds: Folds

    def loss(self, w: Tree, shares: Tensor) -> Tensor:
        """The mean loss of one model, with the shares [n] that the examples have in it."""
        return (shares * loss_of(self.problem)(self.model.apply(w, self.folds.x), self.folds.y)).sum()

    def objective(self, w: Tree, lam: Tree, shares: Tensor) -> Tensor:
        """L_k of one model."""
        return self.loss(w, shares) + penalty(w, strength_of(lam), by_class=self.problem.strength == "class")

    def state(self, inner: Inner, start: Tree, shares: Tensor, validation: Tensor) -> tuple[Problem, Dynamics]:
        """K models as one problem, w with a leading axis, by the shares [K, n] of training and validation means."""

        examples = Examples(self.folds.x, self.folds.y)

        def objective(w: Tree, lam: Tree) -> Tensor:
            return torch.func.vmap(lambda w, shares: self.objective(w, lam, shares))(w, shares).sum()

        fitted = with_fit_gradient(
            lambda w, lam, rows: objective(w, lam),
            self.model,
            scores_loss(self.problem),
            targets_of(self.problem, examples),
            inputs=lambda lam, rows: self.folds.x,
            penalized=partial(penalized, by_class=self.problem.strength == "class"),
            weights=lambda lam: len(self.folds.x) * shares,
        )

        def outer(w: Tree, lam: Tree) -> Tensor:
            return torch.func.vmap(self.loss)(w, validation).mean()

        def init(lam: Tree) -> Tree:
            stacked: Tree = trees.map_leaves(lambda leaf: leaf.repeat(len(shares), *[1] * leaf.ndim), start)
            return stacked

        def products(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            weighted = shares.unsqueeze(-1) * x  # [K, n, d]
            return weighted.mT @ x, weighted.mT @ y

        solution = ridge(self.problem, examples, products)
        stated = Problem(taking(lambda w, lam: (w, lam, ALL), fitted), outer, init, solution)
        return stated, inner.dynamics(full_batch(stated.inner), init)


def cross_validated(problem: spec.Regularization, model: Model, inner: Inner, context: Context) -> Instance:
    """Validation metrics: of every example by the model that it was held out from. Test metrics: of a model that is
    fitted to all of them under the same strengths."""
    assert problem.folds is not None
    data = tables.load_pool(problem, context)
    folds = fold(data.pool, problem.folds, context.seed)
    fitting = Fitting(problem, model, folds)
    start: Tree = context.place(start_of(problem, model, context.seed))
    stated, dynamics = fitting.state(inner, start, folds.train_shares(), folds.validation_shares())
    everything = torch.full((1, len(folds.x)), 1 / len(folds.x), dtype=folds.x.dtype, device=folds.x.device)
    refitted = fitting.state(inner, start, everything, everything)
    apply = torch.func.vmap(model.apply, in_dims=(0, None))

    def score(scores: Tensor, examples: Examples) -> Metrics:
        if problem.dataset.classes:
            return losses.classification(scores, examples.y, loss_of(problem))
        return losses.regression(scores, examples.y, loss_of(problem), data.unit)

    @torch.no_grad()
    def evaluate(lam: Tree, w: "Tree | None" = None) -> Evaluation:
        w = inner.solve(stated, dynamics, lam) if w is None else w
        held_out = apply(w, folds.x)[folds.number(), torch.arange(len(folds.x), device=folds.x.device)]
        (tested,) = apply(inner.solve(*refitted, lam), data.test.x)
        return Evaluation(score(held_out, data.pool), score(tested, data.test))

    return Instance(
        initial=context.place({**initial(problem, context.seed), **inner.initial()}),
        at=lambda k: (stated, dynamics),
        evaluate=evaluate,
        selection=LOWEST_LOSS,
        natural=partial(natural, inner=inner),
        origin=data.origin,
    )
