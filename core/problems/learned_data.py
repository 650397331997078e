"""Learning the training data: a few examples that a model trained on them does well by (Maclaurin et al. 2015).

L(w, lam) = mean loss of the learned examples + l2/2 ||w||^2, E(w) = mean loss of real examples; lam holds the examples.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Generator, Tensor

from core.bilevel import trees
from core.bilevel.dynamics import full_batch, gradient_descent
from core.bilevel.finite_sum import FiniteSum, Rows
from core.bilevel.hypergradients.inner import run
from core.bilevel.linear_models import SOFTMAX
from core.bilevel.problem import Dynamics, Problem, Tree
from core.bilevel.randomness import stream
from core.datasets.splits import Examples, Scaling, Split
from core.errors import SplitInvalid
from core.models.model import Model
from core.problems import losses, tables
from core.problems.fit_gradient import decayed, with_fit_gradient
from core.problems.inner import Inner, entry
from core.problems.instance import LOWEST_LOSS, Context, Evaluation, Instance, Metrics, plain
from core.spec import learned_problems as spec
from core.spec.learned_reports import DATA_RATES


@dataclass(frozen=True)
class Distilling:
    """The real data, the labels of the learned examples, and how models are trained on them."""

    problem: spec.LearnedData
    model: Model
    inner: Inner
    context: Context
    split: Split
    scaling: Scaling
    labels: Tensor
    """Of the learned examples: every class `examples_per_class` times."""
    start: Tree
    """w_0."""

    def mean_loss(self, w: Tree, examples: Examples) -> Tensor:
        """Mean cross-entropy."""
        return losses.cross_entropy(self.model.apply(w, examples.x), examples.y).mean()

    def fitted(self, w: Tree, examples: Examples) -> Tensor:
        """What a model minimizes."""
        loss = self.mean_loss(w, examples)
        return loss + self.problem.l2 / 2 * trees.dot(w, w) if self.problem.l2 else loss

    def init(self, lam: Tree) -> Tree:
        """The same w_0 always."""
        return self.start

    @property
    def real(self) -> Examples:
        """What the outer objective sees."""
        return self.split.train if self.problem.objective == "training" else self.split.validation

    @cached_property
    def targets(self) -> Tensor:
        """The labels of the learned examples, one-hot [n, classes]."""
        return losses.desired(self.labels, self.problem.dataset.classes, self.context.dtype)

    @cached_property
    def parts(self) -> FiniteSum:
        """Both objectives over some of the examples."""
        real = self.real

        def inner(w: Tree, lam: Tree, rows: Rows) -> Tensor:
            return self.fitted(w, Examples(learned(lam)[rows], self.labels[rows]))

        def outer(w: Tree, lam: Tree, rows: Rows) -> Tensor:
            return self.mean_loss(w, Examples(real.x[rows], real.y[rows]))

        fitted = with_fit_gradient(
            inner,
            self.model,
            SOFTMAX,
            self.targets,
            inputs=lambda lam, rows: learned(lam)[rows],
            penalized=decayed(self.problem.l2),
        )
        return FiniteSum(fitted, outer, len(self.labels), len(real.x), self.init)

    @cached_property
    def state(self) -> tuple[Problem, Dynamics]:
        """The bilevel problem with all real examples; one, as its minibatches are kept with it."""
        return self.inner.state(self.parts, self.context)

    def at(self, k: int) -> tuple[Problem, Dynamics]:
        """With the real examples of hyperiteration k."""
        (problem, dynamics), batch, parts = self.state, self.problem.outer_batch, self.parts
        if batch is None or batch >= parts.outer_examples:
            return problem, dynamics
        drawn = torch.randperm(parts.outer_examples, generator=stream(self.context.seed, "outer minibatch", k))
        rows = drawn[:batch].to(self.context.device)
        return replace(problem, outer=lambda w, lam: parts.outer(w, lam, rows)), dynamics

    def score(self, w: Tree, examples: Examples) -> Metrics:
        """Accuracy and loss."""
        return losses.classification(self.model.apply(w, examples.x), examples.y, losses.cross_entropy)

    def evaluate(self, lam: Tree, w: "Tree | None" = None) -> Evaluation:
        """Of the model that T steps on the learned examples give, or that the algorithm keeps."""
        w = self.inner.solve(*self.state, lam) if w is None else w
        return Evaluation(self.score(w, self.split.validation), self.score(w, self.split.test))

    @torch.no_grad()
    def report(self, lam: Tree) -> dict[str, Any]:
        """Test metrics of the model trained on the learned examples, on as many real ones, and on all of them."""
        trained = self.score(self.inner.solve(*self.state, lam), self.split.test)
        few = [self.drawn(stream(self.context.seed, "draw", draw)) for draw in range(self.problem.draws)]
        return {
            "learned": plain(trained),
            "as_many_real_examples": self.tuned(few, self.inner.steps),
            "all_real_examples": self.tuned([self.split.train], self.problem.final_steps),
            "learned_examples": len(self.labels),
            "real_examples": len(self.split.train.x),
        }

    def tuned(self, sets: list[Examples], steps: int) -> dict[str, Any]:
        """Gradient descent from w_0 on each set, at the rate of the grid with the lowest mean validation loss."""
        fits = {rate: [self.fit(examples, rate, steps) for examples in sets] for rate in DATA_RATES}

        def validated(rate: float) -> float:
            mean = sum(float(self.mean_loss(w, self.split.validation)) for w in fits[rate]) / len(sets)
            return mean if math.isfinite(mean) else math.inf

        best = min(DATA_RATES, key=validated)
        scores = [self.score(w, self.split.test) for w in fits[best]]
        means = {name: torch.tensor([each[name].mean for each in scores], dtype=torch.float64) for name in scores[0]}
        spread = {
            name: {"mean": float(value.mean()), "lowest": float(value.min()), "highest": float(value.max())}
            for name, value in means.items()
        }
        return {**spread, "rate": best, "steps": steps, "draws": len(sets)}

    def fit(self, examples: Examples, rate: float, steps: int) -> Tree:
        """The model after so many gradient steps on all of the examples."""
        dynamics = gradient_descent(full_batch(lambda w, lam: self.fitted(w, examples)), self.init, rate=rate)
        return run(dynamics, (), steps)[1].w

    def drawn(self, generator: Generator) -> Examples:
        """Real training examples, `examples_per_class` of each class."""
        rows = per_class(self.split.train, self.problem, generator)
        return Examples(self.split.train.x[rows], self.split.train.y[rows])

    def natural(self, lam: Tree) -> Mapping[str, Tensor]:
        """The mean norm of a learned example, which is about the root of their size at the start; the dynamics'."""
        return {"example_norm": torch.linalg.vector_norm(learned(lam), dim=1).mean(), **self.inner.natural(lam)}

    def artifacts(self, lam: Tree) -> Mapping[str, Mapping[str, Tensor]]:
        """The learned examples in the units of the data set, as the model sees them, their labels; what features were
        shifted and divided by."""
        own = learned(lam)
        examples = {"examples": self.scaling.undo(own), "standardized": own, "labels": self.labels}
        return {"learned_examples": {**examples, **tables.standardization(self.scaling)}}


def learned(lam: Tree) -> Tensor:
    """The learned examples [n, features]."""
    return entry(lam, "examples")


def per_class(examples: Examples, problem: spec.LearnedData, generator: Generator) -> Tensor:
    """Rows of `examples_per_class` examples of each class, ordered by class; without replacement while they last.

    Raises:
        SplitInvalid: a class has none.
    """
    labels, wanted, rows = examples.y.cpu(), problem.examples_per_class, []
    for label in range(problem.dataset.classes):
        own = (labels == label).nonzero().flatten()
        if not len(own):
            raise SplitInvalid(
                f"No training example is of class {label}: raise /problem/train or choose another /seed."
            )
        times = -(-wanted // len(own))
        rows.append(torch.cat([own[torch.randperm(len(own), generator=generator)] for _ in range(times)])[:wanted])
    return torch.cat(rows).to(examples.x.device)


def initial(problem: spec.LearnedData, train: Examples, seed: int) -> Tensor:
    """The learned examples at hyperiteration 0, in float64 on the CPU."""
    generator, m = stream(seed, "learned examples"), problem.examples_per_class
    noise = torch.randn(problem.dataset.classes * m, train.x.shape[1], dtype=torch.float64, generator=generator)
    match problem.initial:
        case "noise":
            return noise
        case "examples":
            return train.x[per_class(train, problem, generator)].double().cpu()
        case "class_means":
            per_class(train, problem, generator)  # refuses a class without examples
            groups = [train.x[train.y == label].double().cpu().mean(0) for label in range(problem.dataset.classes)]
            means = torch.stack(groups).repeat_interleave(m, dim=0)
            return means + 0.1 * noise if m > 1 else means


def learned_data(problem: spec.LearnedData, model: Model, inner: Inner, context: Context) -> Instance:
    """Metrics: accuracy and loss of the model trained on the learned examples. The report compares with real ones."""
    data = tables.load(problem, context)
    assert data.scaling is not None  # which only hyper-cleaning can do without
    labels = torch.arange(problem.dataset.classes, device=context.device).repeat_interleave(problem.examples_per_class)
    start = context.place(model.init(stream(context.seed, "initialization")))
    distilling = Distilling(problem, model, inner, context, data.split, data.scaling, labels, start)
    examples = initial(problem, data.split.train, context.seed)
    return Instance(
        initial=context.place({"examples": examples, **inner.initial()}),
        at=distilling.at,
        evaluate=distilling.evaluate,
        selection=LOWEST_LOSS,
        natural=distilling.natural,
        finite_sum=distilling.parts,
        report=distilling.report,
        artifacts=distilling.artifacts,
        origin=data.origin,
    )
