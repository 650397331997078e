"""Data hyper-cleaning: one weight for each training example, learned from a small clean validation set.

L(w, lam) = 1/n sum_i weight(lam_i) loss_i(w) + l2/2 ||w||^2, E(w, lam) = mean validation loss.
Weights are sigmoid(lam_i), or lam_i itself in [0, 1] with a bounded sum (Franceschi et al. 2017).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, assert_never, cast

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.problem import Dynamics, Problem, Tree
from core.bilevel.projections import box_with_bounded_sum
from core.bilevel.randomness import stream
from core.bilevel.transforms import unit_interval
from core.datasets.splits import Examples
from core.models.model import Model
from core.problems import losses, tables
from core.problems.inner import Inner, Rows, entry, minibatches
from core.problems.instance import LOWEST_LOSS, Context, Evaluation, Instance
from core.spec import problems as spec


class Labels(NamedTuple):
    """Labels of the training examples."""

    true: Tensor
    given: Tensor
    """What the inner objective sees."""
    corrupted: Tensor
    """Whether the two differ, bool [n]."""


def corrupt(labels: Tensor, *, classes: int, fraction: float, seed: int) -> Labels:
    """Gives round(fraction n) examples, drawn without replacement, a label drawn uniformly from the other classes."""
    generator = stream(seed, "corruption")
    count = round(fraction * len(labels))
    chosen = torch.randperm(len(labels), generator=generator)[:count]
    shift = torch.randint(1, classes, (count,), generator=generator)
    true = labels.cpu()
    given, corrupted = true.clone(), torch.zeros(len(labels), dtype=torch.bool)
    given[chosen] = (true[chosen] + shift) % classes
    corrupted[chosen] = True
    return Labels(*(part.to(labels.device) for part in (true, given, corrupted)))


class Weighting(NamedTuple):
    """How the outer variables become weights."""

    name: str
    """Of the outer variables in lam."""
    initial: Tensor
    sigmoid: bool
    total: float
    """Largest sum of the weights."""
    threshold: float
    """An example counts as found where its weight is below this: half of the largest weight, which is 1, for sigmoid
    weights; half of the initial weight, radius / n, for clipped ones."""

    def weights(self, lam: Tree) -> Tensor:
        """The weights [n], in [0, 1]."""
        own = entry(lam, self.name)
        return unit_interval.forward(own) if self.sigmoid else own

    def project(self, lam: Tree) -> Tree:
        """Clipped weights onto {0 <= weight_i <= 1, sum <= total}; sigmoid weights are free."""
        if self.sigmoid:
            return lam
        others = cast("dict[str, Tree]", lam)
        return {**others, self.name: box_with_bounded_sum(entry(lam, self.name), self.total)}


def weighting(problem: spec.HyperCleaning) -> Weighting:
    """Reads the spec; the initial outer variables are in float64."""
    n = problem.train
    match problem.weights:
        case spec.SigmoidWeights():
            free = unit_interval.inverse(torch.full((n,), problem.weights.initial, dtype=torch.float64))
            return Weighting("logit_weight", free, True, float(n), 0.5)
        case spec.ClippedWeights():
            total = min(problem.weights.radius or n - round(problem.corruption * n), float(n))
            return Weighting("weight", torch.full((n,), total / n, dtype=torch.float64), False, total, total / n / 2)
        case _:
            assert_never(problem.weights)


def hyper_cleaning(problem: spec.HyperCleaning, model: Model, inner: Inner, context: Context) -> Instance:
    """Metrics: accuracy and loss. The report compares noisy baseline, learned weights and clean oracle."""
    train, validation, test = tables.load(problem, context).split
    labels = corrupt(train.y, classes=problem.dataset.classes, fraction=problem.corruption, seed=context.seed)
    start = context.place(model.init(stream(context.seed, "initialization")))
    weights = weighting(problem)

    def init(lam: Tree) -> Tree:
        return cast(Tree, start)

    def outer(w: Tree, lam: Tree) -> Tensor:
        return losses.cross_entropy(model.apply(w, validation.x), validation.y).mean()

    def state(given: Tensor, fixed: Tensor | None = None) -> tuple[Problem, Dynamics]:
        """The problem with these labels, and with fixed weights or those that lam says."""

        def objective(w: Tree, lam: Tree, rows: Rows) -> Tensor:
            weight = weights.weights(lam) if fixed is None else fixed
            each = losses.cross_entropy(model.apply(w, train.x[rows]), given[rows])
            fit = (weight[rows] * each).mean()
            return fit + problem.l2 / 2 * trees.dot(w, w) if problem.l2 else fit

        everything, part = minibatches(
            objective, examples=len(train.x), batch=inner.batch, seed=context.seed, device=context.device
        )
        return Problem(everything, outer, init), inner.dynamics(part, init)

    stated, dynamics = state(labels.given)
    any_corrupted = bool(labels.corrupted.any())
    ones = torch.ones_like(weights.initial).to(context.device, context.dtype)
    compared: dict[str, tuple[Problem, Dynamics]] = {
        "baseline": state(labels.given, ones),
        "learned": (stated, dynamics),
        "oracle": state(labels.given, (~labels.corrupted).to(context.dtype)),
    }

    def score(w: Tree, examples: Examples) -> Any:
        return losses.classification(model.apply(w, examples.x), examples.y, losses.cross_entropy)

    def evaluate(lam: Tree) -> Evaluation:
        w = inner.solve(stated, dynamics, lam)
        return Evaluation(score(w, validation), score(w, test))

    def report(lam: Tree) -> dict[str, Any]:
        comparison: dict[str, Any] = {}
        for name, (variant, walk) in compared.items():
            w = inner.solve(variant, walk, lam, steps=problem.final_steps)
            comparison[name] = {key: value.plain() for key, value in score(w, test).items()}
        found = {key: float(value) for key, value in detection(weights.weights(lam), labels, weights.threshold).items()}
        return {**found, "threshold": weights.threshold, "corrupted": int(labels.corrupted.sum()), **comparison}

    def natural(lam: Tree) -> Mapping[str, Tensor]:
        weight = weights.weights(lam)
        found = {"weight_clean": weight[~labels.corrupted].mean(), **inner.natural(lam)}
        if any_corrupted:
            found["weight_corrupted"] = weight[labels.corrupted].mean()
            found["f1"] = detection(weight, labels, weights.threshold)["f1"]
        return found

    def artifacts(lam: Tree) -> Mapping[str, Mapping[str, Tensor]]:
        return {
            "examples": {
                "weights": weights.weights(lam),
                "corrupted": labels.corrupted.to(torch.uint8),
                "given_labels": labels.given,
                "true_labels": labels.true,
            }
        }

    return Instance(
        initial=context.place({weights.name: weights.initial, **inner.initial()}),
        at=lambda k: (stated, dynamics),
        evaluate=evaluate,
        selection=LOWEST_LOSS,
        natural=natural,
        project=weights.project,
        report=report,
        artifacts=artifacts,
    )


def detection(weight: Tensor, labels: Labels, threshold: float) -> dict[str, Tensor]:
    """How well "the weight is below the threshold" finds the corrupted labels; 0 for 0 / 0."""
    found, corrupted = weight < threshold, labels.corrupted
    hits, all_found, all_corrupted = (part.sum().double() for part in (found & corrupted, found, corrupted))
    return {
        "f1": 2 * hits / (all_found + all_corrupted).clamp(min=1),
        "precision": hits / all_found.clamp(min=1),
        "recall": hits / all_corrupted.clamp(min=1),
    }
