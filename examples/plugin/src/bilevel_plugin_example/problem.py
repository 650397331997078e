"""Robust regression; the scale of the pseudo-Huber loss is the outer variable."""

import torch
from torch import Tensor

from bilevel_plugin_example.spec import RobustRegression
from core.bilevel.finite_sum import ALL, FiniteSum, Rows
from core.bilevel.problem import Problem, Tree
from core.bilevel.randomness import stream
from core.problems.inner import Inner, entry, minibatches
from core.problems.instance import LOWEST_LOSS, Context, Evaluation, Instance, Metrics, metric


def robust_regression(problem: RobustRegression, inner: Inner, context: Context) -> Instance:
    """Metrics: `loss`, half the squared error of clean data."""
    (x, y), validation, test = (context.place(part) for part in draw(problem, context.seed))

    def objective(w: Tree, lam: Tree, rows: Rows) -> Tensor:
        delta = entry(lam, "log_delta").exp()
        return (delta**2 * ((1 + ((x[rows] @ w - y[rows]) / delta) ** 2).sqrt() - 1)).mean()

    def errors(w: Tree, data: tuple[Tensor, Tensor], rows: Rows = ALL) -> Tensor:
        return 0.5 * (data[0][rows] @ w - data[1][rows]) ** 2

    def init(lam: Tree) -> Tensor:
        return x.new_zeros(problem.features)

    everything, part = minibatches(
        objective, examples=problem.examples, batch=inner.batch, seed=context.seed, device=context.device
    )

    def outer(w: Tree, lam: Tree, rows: Rows = ALL) -> Tensor:
        return errors(w, validation, rows).mean()

    stated = Problem(everything, outer, init)
    dynamics = inner.dynamics(part, init)

    def score(w: Tree, data: tuple[Tensor, Tensor]) -> Metrics:
        return {"loss": metric(errors(w, data))}

    def evaluate(lam: Tree, w: "Tree | None" = None) -> Evaluation:
        w = inner.solve(stated, dynamics, lam) if w is None else w
        return Evaluation(score(w, validation), score(w, test))

    return Instance(
        initial=context.place({"log_delta": torch.tensor(2.0, dtype=torch.float64), **inner.initial()}),
        at=lambda k: (stated, dynamics),
        evaluate=evaluate,
        selection=LOWEST_LOSS,
        natural=lambda lam: {"delta": entry(lam, "log_delta").exp(), **inner.natural(lam)},
        finite_sum=FiniteSum(objective, outer, problem.examples, problem.examples, init),
    )


def draw(problem: RobustRegression, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Training, validation and test data in float64; the first round(outliers * examples) training targets are off."""
    generator = stream(seed, "robust regression")

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    truth = normal(problem.features)
    sets = []
    for _ in range(3):
        x = normal(problem.examples, problem.features)
        sets.append((x, x @ truth + 0.1 * normal(problem.examples)))
    sets[0][1][: round(problem.outliers * problem.examples)] += 10
    return sets
