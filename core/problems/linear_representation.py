"""A linear representation with ridge regression on it: the effect of T (Franceschi et al. 2018, section 5.1).

L(w, H) = 1/n sum_i 1/2 ||w H x_i - y_i||^2 + strength/2 ||w||^2, w_0 = 0, and E the mean of 1/2 ||w H x - y||^2 over
validation examples; y is one-hot. With Z = X H' of the n training examples, G = Z'Z/n and M = Y'Z/n, which are made
once a hyperiteration,
grad_w L = w (G + strength I) - M,   w*(H) = M (G + strength I)^-1,
so that a step costs k^2 C instead of the 2 n k C through the examples, whatever the dynamics and the method.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from core.bilevel.derivatives import WithGradient
from core.bilevel.dynamics import full_batch
from core.bilevel.problem import Dynamics, Problem, Tree
from core.bilevel.randomness import stream
from core.datasets.splits import Examples, Split
from core.models.initialization import glorot
from core.problems import losses
from core.problems.inner import Inner, entry
from core.problems.instance import LOWEST_LOSS, Context, Evaluation, Instance, Metrics, plain
from core.spec import problems as spec
from core.spec.sizes import dimension

MAP = "H"


@dataclass(frozen=True)
class Ridge:
    """The inner and outer problem, stated in z = {"gram": G [k, k], "moments": M [C, k], "validation": [m, k], ...}."""

    targets: Tensor
    """One-hot rows of the validation examples [m, C]."""
    strength: float

    def inner(self, w: Tree, z: Tree) -> Tensor:
        """L at w [C, k]; the mean of 1/2 ||y||^2 is 1/2."""
        assert isinstance(w, Tensor)
        curved = w @ entry(z, "gram") + self.strength * w
        return 0.5 + (w * (0.5 * curved - entry(z, "moments"))).sum()

    def gradient(self, w: Tree, z: Tree) -> Tensor:
        """grad_w L, by one product."""
        assert isinstance(w, Tensor)
        return w @ entry(z, "gram") + self.strength * w - entry(z, "moments")

    def outer(self, w: Tree, z: Tree) -> Tensor:
        """E."""
        assert isinstance(w, Tensor)
        return 0.5 * (entry(z, "validation") @ w.T - self.targets).square().sum(1).mean()

    def init(self, z: Tree) -> Tensor:
        """w_0 = 0."""
        return torch.zeros_like(entry(z, "moments"))

    def solution(self, z: Tree) -> Tensor:
        """w*; NaN where the system is singular or not finite."""
        gram = entry(z, "gram")
        system = gram + self.strength * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        w, info = torch.linalg.solve_ex(system, entry(z, "moments"), left=False)
        return torch.where(info == 0, w, math.nan)

    def state(self, inner: Inner, embed: Callable[[Tree], Tree]) -> tuple[Problem, Dynamics]:
        """The bilevel problem, and the dynamics that step by its gradient."""
        loss = WithGradient(self.inner, self.gradient)
        problem = Problem(loss, self.outer, self.init, self.solution, embed)
        return problem, inner.dynamics(full_batch(loss), self.init)


def linear_representation(problem: spec.LinearRepresentation, split: Split, inner: Inner, context: Context) -> Instance:
    """Metrics: accuracy and loss of validation and test set. The report has those of the training set, and of w*."""
    train, validation, test = split
    targets = losses.desired(train.y, problem.classes, train.x.dtype)

    def embed(lam: Tree) -> Tree:
        features = represented(lam, train)
        z: dict[str, Tree] = {
            "gram": features.T @ features / len(features),
            "moments": targets.T @ features / len(features),
            "validation": represented(lam, validation),
        }
        return {**z, **inner.carried(lam)}

    ridge = Ridge(losses.desired(validation.y, problem.classes, train.x.dtype), problem.strength)
    stated, dynamics = ridge.state(inner, embed)

    @torch.no_grad()
    def evaluate(lam: Tree, w: "Tree | None" = None) -> Evaluation:
        w = inner.solve(stated, dynamics, embed(lam)) if w is None else w
        return Evaluation(scored(lam, w, validation), scored(lam, w, test))

    @torch.no_grad()
    def report(lam: Tree) -> dict[str, Any]:
        z = embed(lam)
        solution, parts = ridge.solution(z), {"train": train, "validation": validation, "test": test}
        return {
            "train": plain(scored(lam, inner.solve(stated, dynamics, z), train)),
            "closed_form": {name: plain(scored(lam, solution, part)) for name, part in parts.items()},
        }

    return Instance(
        initial=context.place({MAP: initial(problem, context.seed), **inner.initial()}),
        at=lambda k: (stated, dynamics),
        evaluate=evaluate,
        selection=LOWEST_LOSS,
        natural=inner.natural,
        report=report,
    )


def represented(lam: Tree, examples: Examples) -> Tensor:
    """H x of every example, [n, k]."""
    return functional.linear(examples.x, entry(lam, MAP))


def scored(lam: Tree, w: Tree, examples: Examples) -> Metrics:
    """Accuracy and loss of the heads w on the representation of lam."""
    assert isinstance(w, Tensor)
    return losses.classification(represented(lam, examples) @ w.T, examples.y, losses.squared)


def initial(problem: spec.LinearRepresentation, seed: int) -> Tensor:
    """H [k, d] at hyperiteration 0, in float64."""
    rows, columns = dimension(problem), problem.features.size
    if problem.initial == "identity":
        return torch.eye(rows, columns, dtype=torch.float64)
    return glorot((rows, columns), columns, rows, stream(seed, "initialization"), torch.float64)
