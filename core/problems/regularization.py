"""Regularization strengths as outer variables.

L(w, lam) = mean training loss + 1/2 sum_j exp(lam_j) w_j^2 over the weights, not the offsets; E = mean validation loss.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import cast

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.finite_sum import FiniteSum, Rows
from core.bilevel.linear_models import LOGISTIC, SOFTMAX, SQUARED
from core.bilevel.linear_models.losses import Loss as ScoresLoss
from core.bilevel.problem import Tree
from core.bilevel.randomness import stream
from core.bilevel.transforms import positive
from core.datasets.splits import Examples
from core.errors import SplitInvalid
from core.models.model import Model
from core.problems import losses, tables
from core.problems.fit_gradient import with_fit_gradient
from core.problems.inner import Inner, entry
from core.problems.instance import LOWEST_LOSS, Context, Evaluation, Instance, Metrics
from core.problems.linear_inner import stated_as_linear
from core.spec import problems as spec
from core.spec.models import Linear
from core.spec.problem_checks import analytic, closed_form, squares
from core.spec.sizes import outputs, strengths

STRENGTH = "log_strength"


def regularization(problem: spec.Regularization, model: Model, inner: Inner, context: Context) -> Instance:
    """Metrics: accuracy and loss where the targets are classes, loss and absolute error where they are numbers.

    Raises:
        SplitInvalid: all training examples are of one class, so that a logistic offset has no minimizer.
    """
    data = tables.load(problem, context)
    train, validation, test = data.split
    if problem.loss == "logistic" and problem.model != Linear(bias=False) and bool((train.y == train.y[0]).all()):
        raise SplitInvalid(
            f"All {len(train.y)} training examples are of one class: raise /problem/train or choose another /seed."
        )
    loss = loss_of(problem)
    start: Tree = context.place(start_of(problem, model, context.seed))

    def objective(w: Tree, lam: Tree, rows: Rows) -> Tensor:
        fit = loss(model.apply(w, train.x[rows]), train.y[rows]).mean()
        return fit + penalty(w, strength_of(lam), by_class=problem.strength == "class")

    targets = targets_of(problem, train)
    fitted = with_fit_gradient(
        objective,
        model,
        scores_loss(problem),
        targets,
        inputs=lambda lam, rows: train.x[rows],
        penalized=partial(penalized, by_class=problem.strength == "class"),
    )

    def validated(w: Tree, lam: Tree, rows: Rows) -> Tensor:
        return loss(model.apply(w, validation.x[rows]), validation.y[rows]).mean()

    def init(lam: Tree) -> Tree:
        return start

    linear = None
    if analytic(problem):
        linear = stated_as_linear(problem.model, train.x, targets, scores_loss(problem), strengths=strength_of)
    parts = FiniteSum(fitted, validated, len(train.x), len(validation.x), init)
    stated, dynamics = inner.state(parts, context, linear=linear, solution=ridge(problem, train))

    def score(w: Tree, examples: Examples) -> Metrics:
        scores = model.apply(w, examples.x)
        if problem.dataset.classes:
            return losses.classification(scores, examples.y, loss)
        return losses.regression(scores, examples.y, loss, data.unit)

    def evaluate(lam: Tree, w: "Tree | None" = None) -> Evaluation:
        w = inner.solve(stated, dynamics, lam) if w is None else w
        return Evaluation(score(w, validation), score(w, test))

    return Instance(
        initial=context.place({**initial(problem, context.seed), **inner.initial()}),
        at=lambda k: (stated, dynamics),
        evaluate=evaluate,
        selection=LOWEST_LOSS,
        natural=partial(natural, inner=inner),
        finite_sum=parts,
        origin=data.origin,
    )


def targets_of(problem: spec.Regularization, train: Examples) -> Tensor:
    """What the scores are to come to: one column of 0 and 1 for the one score of two classes, else as `desired`."""
    if problem.loss == "logistic":
        return train.y.to(train.x.dtype).unsqueeze(-1)
    return losses.desired(train.y, outputs(problem.dataset), train.x.dtype)


def scores_loss(problem: spec.Regularization) -> ScoresLoss:
    """The loss of an example, as methods that have its derivatives written out take it."""
    if squares(problem):
        return SQUARED
    return LOGISTIC if problem.loss == "logistic" else SOFTMAX


def penalty(w: Tree, strength: Tensor, *, by_class: bool = False) -> Tensor:
    """1/2 sum_j strength_j ||weight_j||^2, with strength [] for all weights, [layers], or [features] of one layer.

    If `by_class`, strength is [scores] of one layer.
    """
    layers = _layers(w)
    pairs = zip(_each(strength, len(layers), by_class=by_class), layers, strict=True)
    return 0.5 * torch.stack([(own * layer["weight"] ** 2).sum() for own, layer in pairs]).sum()


def penalized(fit: Tree, w: Tree, lam: Tree, *, by_class: bool = False) -> Tree:
    """`fit` + grad_w of `penalty`, whatever leading axes both trees have."""
    layers, found = _layers(w), _layers(fit)
    each = _each(strength_of(lam), len(layers), by_class=by_class)
    added: list[Tree] = [
        {**part, "weight": torch.addcmul(part["weight"], own, layer["weight"])}
        for part, own, layer in zip(found, each, layers, strict=True)
    ]
    return added[0] if isinstance(w, dict) else added


def _each(strength: Tensor, layers: int, *, by_class: bool) -> list[Tensor]:
    """What the weight of each layer is multiplied by."""
    if not strength.ndim:
        return [strength] * layers
    if layers > 1:
        return list(strength.unbind())
    return [strength if by_class else strength.unsqueeze(-1)]


def strength_of(lam: Tree) -> Tensor:
    """exp(lam), in the shape that `penalty` takes."""
    return positive.forward(entry(lam, STRENGTH))


def _layers(w: Tree) -> Sequence[Mapping[str, Tensor]]:
    return cast("Sequence[Mapping[str, Tensor]]", [w] if isinstance(w, dict) else w)


def _shape(problem: spec.Regularization) -> tuple[int, ...]:
    return () if problem.strength == "global" else (strengths(problem),)


def natural(lam: Tree, *, inner: Inner) -> dict[str, Tensor]:
    """The strengths, and the outer variables of the dynamics."""
    return {"strength": strength_of(lam), **inner.natural(lam)}


def initial(problem: spec.Regularization, seed: int) -> dict[str, Tree]:
    """Free strengths at hyperiteration 0, in float64."""
    free = positive.inverse(torch.full(_shape(problem), problem.initial_strength, dtype=torch.float64))
    drawn = torch.rand(_shape(problem), dtype=torch.float64, generator=stream(seed, "initial strengths"))
    return {STRENGTH: free + problem.initial_spread * drawn}


def start_of(problem: spec.Regularization, model: Model, seed: int) -> Tree:
    """w_0: the model's own, with normal draws added where the spec wants them."""
    start = model.init(stream(seed, "initialization"))
    if not problem.initial_deviation:
        return start
    generator = stream(seed, "initial deviation")

    def moved(leaf: Tensor) -> Tensor:
        return leaf + problem.initial_deviation * torch.randn(leaf.shape, dtype=leaf.dtype, generator=generator)

    found: Tree = trees.map_leaves(moved, start)
    return found


def loss_of(problem: spec.Regularization) -> losses.Loss:
    """The loss of an example."""
    if squares(problem):
        return losses.squared
    return losses.logistic if problem.loss == "logistic" else losses.cross_entropy


Means = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(X [n, d], Y [n, C]) -> X'X [..., d, d] and X'Y [..., d, C], means over the examples."""


def mean_products(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """X'X/n and X'Y/n."""
    return x.T @ x / len(x), x.T @ y / len(x)


def ridge(problem: spec.Regularization, train: Examples, means: Means = mean_products) -> Callable[[Tree], Tree] | None:
    """Closed form of the squared loss with a linear model, None for other models and for one strength a class.

    (X'X/n + diag(strength)) W = X'Y/n, with a column of ones in X and the strength 0 for the offset; with other `means`
    for as many models as these have leading axes for. A system that is singular or not finite gives NaN.
    """
    if not closed_form(problem):
        return None
    assert isinstance(problem.model, Linear)
    bias, features = problem.model.bias, train.x.shape[1]
    x = torch.cat([train.x, train.x.new_ones(len(train.x), 1)], dim=1) if bias else train.x
    y = losses.desired(train.y, outputs(problem.dataset), x.dtype)
    ones, products = x.new_ones(features), cache(partial(means, x, y))

    def solution(lam: Tree) -> Tree:
        strength = strength_of(lam) * ones
        if bias:
            strength = torch.cat([strength, strength.new_zeros(1)])
        gram, moments = products()
        w, info = torch.linalg.solve_ex(gram + torch.diag(strength), moments)
        w = torch.where(info[..., None, None] == 0, w, math.nan)
        return {"weight": w[..., :features, :], "bias": w[..., features, :]} if bias else {"weight": w}

    return solution
