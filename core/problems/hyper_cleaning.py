"""Data hyper-cleaning: one weight for each training example, learned from a small clean validation set.

L(w, lam) = 1/n sum_i weight(lam_i) loss_i(w) + l2/2 ||w||^2, E(w, lam) = mean validation loss.
Weights are sigmoid(lam_i), or lam_i itself in [0, 1] with a bounded sum (Franceschi et al. 2017).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, assert_never, cast

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.finite_sum import FiniteSum, Rows
from core.bilevel.linear_models import SOFTMAX
from core.bilevel.problem import Dynamics, Problem, Tree
from core.bilevel.projections import box_with_bounded_sum
from core.bilevel.randomness import stream
from core.bilevel.transforms import unit_interval
from core.datasets.splits import Examples, Split
from core.errors import SplitInvalid
from core.models.model import Model
from core.problems import losses, tables
from core.problems.fit_gradient import decayed, with_fit_gradient
from core.problems.inner import Inner, entry
from core.problems.instance import LOWEST_LOSS, Context, Evaluation, Instance, Metrics, plain
from core.problems.linear_inner import stated_as_linear
from core.problems.tables import Data
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


def corrupt_to_any(labels: Tensor, *, classes: int, fraction: float, seed: int) -> Labels:
    """Gives each example, with probability `fraction`, a label drawn uniformly from all classes, its own among them."""
    generator = stream(seed, "corruption")
    true = labels.cpu()
    chosen = torch.rand(len(true), generator=generator) < fraction
    given = torch.where(chosen, torch.randint(0, classes, (len(true),), generator=generator), true)
    return Labels(*(part.to(labels.device) for part in (true, given, given != true)))


REMOVED = 0.001
"""Clipped weights below this are 0 for all purposes: the criterion of Franceschi et al. 2017."""


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
            same = 1 / problem.dataset.classes if problem.flip == "any" else 0  # drawn again, and the same
            total = min(problem.weights.radius or n - round(problem.corruption * (1 - same) * n), float(n))
            return Weighting("weight", torch.full((n,), total / n, dtype=torch.float64), False, total, total / n / 2)
        case _:
            assert_never(problem.weights)


@dataclass(frozen=True)
class Cleaning:
    """The data with their corruption, and how models are fitted to them."""

    problem: spec.HyperCleaning
    model: Model
    inner: Inner
    context: Context
    data: Data
    split: Split
    """What models are fitted to and scored on: that of the data, or with more in its training set."""
    labels: Labels
    weighting: Weighting
    start: Tree
    """w_0."""
    clean: bool
    """Whether no label is corrupted."""

    @cached_property
    def targets(self) -> Tensor:
        """The given labels, one-hot [n, classes]."""
        return losses.desired(self.labels.given, self.problem.dataset.classes, self.split.train.x.dtype)

    def parts(self, weights: Callable[[Tree], Tensor]) -> FiniteSum:
        """Both objectives over some of the examples; weights: lam -> [n]."""
        train, validation, _ = self.split

        def objective(w: Tree, lam: Tree, rows: Rows) -> Tensor:
            each = losses.cross_entropy(self.model.apply(w, train.x[rows]), self.labels.given[rows])
            fit = (weights(lam)[rows] * each).mean()
            return fit + self.problem.l2 / 2 * trees.dot(w, w) if self.problem.l2 else fit

        def outer(w: Tree, lam: Tree, rows: Rows) -> Tensor:
            return losses.cross_entropy(self.model.apply(w, validation.x[rows]), validation.y[rows]).mean()

        def init(lam: Tree) -> Tree:
            return self.start

        fitted = with_fit_gradient(
            objective,
            self.model,
            SOFTMAX,
            self.targets,
            inputs=lambda lam, rows: train.x[rows],
            penalized=decayed(self.problem.l2),
            weights=weights,
        )
        return FiniteSum(fitted, outer, len(train.x), len(validation.x), init)

    @cached_property
    def stated(self) -> tuple[Problem, Dynamics]:
        """With the weights that lam says; one, as its minibatches are kept with it."""
        return self.state()

    def state(self, fixed: Tensor | None = None) -> tuple[Problem, Dynamics]:
        """The bilevel problem, with the weights that lam says or, for comparison, fixed ones [n]."""
        train = self.split.train

        def weights(lam: Tree) -> Tensor:
            return self.weighting.weights(lam) if fixed is None else fixed

        linear = stated_as_linear(
            self.problem.model,
            train.x,
            self.targets,
            SOFTMAX,
            strengths=lambda lam: train.x.new_tensor(self.problem.l2),
            offset_strength=self.problem.l2,
            weights=weights,
        )
        return self.inner.state(self.parts(weights), self.context, linear=linear)

    def score(self, w: Tree, examples: Examples) -> Metrics:
        """Accuracy and loss."""
        return losses.classification(self.model.apply(w, examples.x), examples.y, losses.cross_entropy)

    def evaluate(self, lam: Tree, w: "Tree | None" = None) -> Evaluation:
        """Of the model that T steps give, or that the algorithm keeps."""
        w = self.inner.solve(*self.stated, lam) if w is None else w
        return Evaluation(self.score(w, self.split.validation), self.score(w, self.split.test))

    def report(self, lam: Tree) -> dict[str, Any]:
        """Found corruptions, and test metrics of three models after `final_steps` steps.

        Where nothing is corrupted there is nothing to be found, and the oracle is the baseline: both are left out.
        """
        clean = (~self.labels.corrupted).to(self.context.dtype)
        variants = {"baseline": torch.ones_like(clean), "learned": self.weighting.weights(lam)}
        if not self.clean:
            variants["oracle"] = clean
        comparison, last = {}, self.last()
        certain = clean.new_ones(len(last.labels.given) - len(clean))  # of validation examples
        for name, weights in variants.items():
            stated = last.state(torch.cat([weights, certain]))
            w = self.inner.solve(*stated, lam, steps=self.problem.final_steps)
            comparison[name] = plain(self.score(w, self.split.test))
        found = {"corrupted": int(self.labels.corrupted.sum()), **comparison}
        if self.clean:
            return found
        found = {**self.found(lam, self.weighting.threshold), **found}
        return found if self.weighting.sigmoid else {**found, "removed": self.found(lam, REMOVED)}

    def found(self, lam: Tree, threshold: float) -> dict[str, float]:
        """How well weights below the threshold find the corruptions."""
        scores = detection(self.weighting.weights(lam), self.labels, threshold)
        return {"threshold": threshold, **{key: float(value) for key, value in scores.items()}}

    def last(self) -> "Cleaning":
        """What the models at the end are fitted to."""
        if self.problem.final_on == "train":
            return self
        train, validation, test = self.split
        both = Examples(*(torch.cat(pair) for pair in zip(train, validation, strict=True)))
        right = Labels(validation.y, validation.y, torch.zeros_like(validation.y, dtype=torch.bool))
        labels = Labels(*(torch.cat(pair) for pair in zip(self.labels, right, strict=True)))
        return replace(self, split=Split(both, validation, test), labels=labels)

    def natural(self, lam: Tree) -> Mapping[str, Tensor]:
        """Mean weights of clean and corrupted examples, F1 of the found corruptions, numbers of the dynamics."""
        weight, corrupted = self.weighting.weights(lam), self.labels.corrupted
        found = {"weight_clean": weight[~corrupted].mean(), **self.inner.natural(lam)}
        if self.clean:
            return found
        f1 = detection(weight, self.labels, self.weighting.threshold)["f1"]
        return {**found, "weight_corrupted": weight[corrupted].mean(), "f1": f1}

    def artifacts(self, lam: Tree) -> Mapping[str, Mapping[str, Tensor]]:
        """Every training example: its row in the data set, its weight, whether it was corrupted, its labels; what
        features were shifted and divided by, where they were."""
        assert self.data.origin.rows is not None
        scales = self.data.scaling
        examples = {
            "rows": self.data.origin.rows.train,
            "weights": self.weighting.weights(lam),
            "corrupted": self.labels.corrupted.to(torch.uint8),
            "given_labels": self.labels.given,
            "true_labels": self.labels.true,
            **({} if scales is None else tables.standardization(scales)),
        }
        return {"examples": examples}


def hyper_cleaning(problem: spec.HyperCleaning, model: Model, inner: Inner, context: Context) -> Instance:
    """Metrics: accuracy and loss. The report compares noisy baseline, learned weights and clean oracle, and says how
    well corruptions were found; `removed` by weights that have come to 0, where they can.

    Raises:
        SplitInvalid: all labels are corrupted.
    """
    data = tables.load(problem, context)
    split = data.split
    corrupted = corrupt if problem.flip == "other" else corrupt_to_any
    labels = corrupted(split.train.y, classes=problem.dataset.classes, fraction=problem.corruption, seed=context.seed)
    if bool(labels.corrupted.all()):
        raise SplitInvalid(
            f"All {len(labels.corrupted)} training labels are corrupted: lower /problem/corruption, raise "
            "/problem/train or choose another /seed."
        )
    start = context.place(model.init(stream(context.seed, "initialization")))
    weights = weighting(problem)
    clean = not bool(labels.corrupted.any())
    cleaning = Cleaning(problem, model, inner, context, data, split, labels, weights, start, clean)
    return Instance(
        initial=context.place({weights.name: weights.initial, **inner.initial()}),
        at=lambda k: cleaning.stated,
        evaluate=cleaning.evaluate,
        selection=LOWEST_LOSS,
        natural=cleaning.natural,
        finite_sum=cleaning.parts(weights.weights),
        project=weights.project,
        report=cleaning.report,
        artifacts=cleaning.artifacts,
        origin=data.origin,
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
