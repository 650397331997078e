"""Regularization strengths as outer variables.

L(w, lam) = mean training loss + 1/2 sum_j exp(lam_j) w_j^2 over the weights, not the offsets; E = mean validation loss.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import cast

import torch
from torch import Tensor

from core.bilevel.problem import Problem, Tree
from core.bilevel.randomness import stream
from core.bilevel.transforms import positive
from core.datasets.splits import Examples
from core.models.model import Model
from core.problems import losses, tables
from core.problems.inner import Inner, Rows, entry, minibatches
from core.problems.instance import LOWEST_LOSS, Context, Evaluation, Instance, Metrics
from core.spec import problems as spec
from core.spec.checks import squares
from core.spec.models import Linear
from core.spec.sizes import layers, outputs

STRENGTH = "log_strength"


def regularization(problem: spec.Regularization, model: Model, inner: Inner, context: Context) -> Instance:
    """Metrics: accuracy and loss where the targets are classes, loss and absolute error where they are numbers."""
    data = tables.load(problem, context)
    train, validation, test = data.split
    loss = losses.squared if squares(problem) else losses.cross_entropy
    start: Tree = context.place(model.init(stream(context.seed, "initialization")))

    def objective(w: Tree, lam: Tree, rows: Rows) -> Tensor:
        fit = loss(model.apply(w, train.x[rows]), train.y[rows]).mean()
        return fit + penalty(w, _strength(lam))

    everything, part = minibatches(
        objective, examples=len(train.x), batch=inner.batch, seed=context.seed, device=context.device
    )

    def outer(w: Tree, lam: Tree) -> Tensor:
        return loss(model.apply(w, validation.x), validation.y).mean()

    def init(lam: Tree) -> Tree:
        return start

    stated = Problem(everything, outer, init, ridge(problem, train))
    dynamics = inner.dynamics(part, init)

    def score(w: Tree, examples: Examples) -> Metrics:
        scores = model.apply(w, examples.x)
        if problem.dataset.classes:
            return losses.classification(scores, examples.y, loss)
        return losses.regression(scores, examples.y, loss, data.unit)

    def evaluate(lam: Tree) -> Evaluation:
        w = inner.solve(stated, dynamics, lam)
        return Evaluation(score(w, validation), score(w, test))

    strengths = torch.full(_shape(problem), problem.initial_strength, dtype=torch.float64)
    return Instance(
        initial=context.place({STRENGTH: positive.inverse(strengths), **inner.initial()}),
        at=lambda k: (stated, dynamics),
        evaluate=evaluate,
        selection=LOWEST_LOSS,
        natural=lambda lam: {"strength": _strength(lam), **inner.natural(lam)},
    )


def penalty(w: Tree, strength: Tensor) -> Tensor:
    """1/2 sum_j strength_j ||weight_j||^2, with strength [] for all weights, [layers], or [features] of one layer."""
    weights = _weights(w)
    if strength.ndim and len(weights) == 1:
        return 0.5 * (strength * (weights[0] ** 2).sum(1)).sum()
    sums = torch.stack([(weight**2).sum() for weight in weights])
    return 0.5 * (strength * sums).sum()


def _strength(lam: Tree) -> Tensor:
    return positive.forward(entry(lam, STRENGTH))


def _weights(w: Tree) -> list[Tensor]:
    parts = cast("Sequence[Mapping[str, Tensor]]", [w] if isinstance(w, dict) else w)
    return [part["weight"] for part in parts]


def _shape(problem: spec.Regularization) -> tuple[int, ...]:
    match problem.strength:
        case "global":
            return ()
        case "layer":
            return (layers(problem.model),)
        case "feature":
            return (problem.dataset.features,)


def ridge(problem: spec.Regularization, train: Examples) -> Callable[[Tree], Tree] | None:
    """Closed form of the squared loss with a linear model, None for other models.

    (X'X/n + diag(strength)) W = X'Y/n, with a column of ones in X and the strength 0 for the offset. A system that is
    singular or not finite gives NaN.
    """
    if not isinstance(problem.model, Linear) or not squares(problem):
        return None
    bias, features = problem.model.bias, train.x.shape[1]
    x = torch.cat([train.x, train.x.new_ones(len(train.x), 1)], dim=1) if bias else train.x
    y = losses.desired(train.y, outputs(problem.dataset), x.dtype)
    ones = train.x.new_ones(features)

    @cache
    def products() -> tuple[Tensor, Tensor]:
        return x.T @ x / len(x), x.T @ y / len(x)

    def solution(lam: Tree) -> Tree:
        strength = _strength(lam) * ones
        if bias:
            strength = torch.cat([strength, strength.new_zeros(1)])
        gram, moments = products()
        w, info = torch.linalg.solve_ex(gram + torch.diag(strength), moments)
        w = torch.where(info == 0, w, math.nan)
        return {"weight": w[:features], "bias": w[features]} if bias else {"weight": w}

    return solution
