"""How the inner problem is treated: which dynamics, how many steps, and which of their numbers are outer variables."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.bilevel.derivatives import taking
from core.bilevel.dynamics import Init, Scalar, StepObjective, full_batch
from core.bilevel.finite_sum import ALL, FiniteSum, PartObjective
from core.bilevel.hypergradients.inner import run
from core.bilevel.linear_models import LinearModel, gradient_descent
from core.bilevel.linear_models.walk import Rate
from core.bilevel.problem import Dynamics, Objective, Problem, Tree
from core.bilevel.randomness import stream
from core.bilevel.transforms import Transform
from core.problems.instance import Context


class Learned(NamedTuple):
    """A number of the dynamics that is an outer variable: lam[free] = transform.inverse(natural value)."""

    free: str
    """Its name in lam, such as "log_rate"."""
    transform: Transform
    initial: float
    """Its natural value at hyperiteration 0."""
    steps: int | None = None
    """How many inner steps have a value of their own; None: one value for all."""

    def start(self) -> Tensor:
        """The free value at hyperiteration 0, [] or [steps]."""
        natural = torch.tensor(self.initial, dtype=torch.float64)
        return self.transform.inverse(natural if self.steps is None else natural.repeat(self.steps))

    def natural(self, lam: Tree) -> Tensor:
        """The natural value, [] or [steps], read from lam (or from z, which carries it along)."""
        return self.transform.forward(entry(lam, self.free))

    def at(self, t: int, lam: Tree) -> Tensor:
        """The natural value [] that step t uses; steps beyond the last of their own use that one's."""
        free = entry(lam, self.free)
        return self.transform.forward(free if self.steps is None else free[min(t, self.steps) - 1])


@dataclass(frozen=True)
class Inner:
    """The inner part of an algorithm, not yet bound to an objective."""

    dynamics: Callable[[StepObjective, Init], Dynamics]
    rate: Scalar
    """The rate that the dynamics use."""
    steps: int
    """Inner steps T."""
    batch: int | None = None
    """Examples of a minibatch; None: all."""
    closed_form: bool = False
    """Whether the solution stands in for w_T."""
    learned: Mapping[str, Learned] = field(default_factory=dict)
    """By the name of the natural value."""
    parameter_rate: float | None = None
    """Where every inner variable of a task has a rate of its own, lam["rates"]: what all are at hyperiteration 0."""
    steady_rate: Rate | None = None
    """The rate where the dynamics are gradient descent with the same rate and all examples at every step."""

    def on(self, objective: StepObjective, init: Init, linear: LinearModel | None) -> Dynamics:
        """The dynamics, by analytic steps where the objective is that of a linear model and they have such steps."""
        if linear is None or self.steady_rate is None:
            return self.dynamics(objective, init)
        return gradient_descent(linear, init, rate=self.steady_rate)

    def state(
        self,
        parts: FiniteSum,
        context: Context,
        *,
        linear: LinearModel | None = None,
        solution: Callable[[Tree], Tree] | None = None,
    ) -> tuple[Problem, Dynamics]:
        """The bilevel problem of all examples, and the dynamics, a step of which may see a minibatch of them."""
        examples, seed, device = parts.inner_examples, context.seed, context.device
        everything, part = minibatches(parts.inner, examples=examples, batch=self.batch, seed=seed, device=device)

        def outer(w: Tree, lam: Tree) -> Tensor:
            return parts.outer(w, lam, ALL)

        stated = Problem(everything, outer, parts.init, solution, linear=linear, minibatch=part)
        return stated, self.on(part, parts.init, linear)

    def initial(self) -> dict[str, Tree]:
        """The outer variables of the dynamics at hyperiteration 0."""
        return {number.free: number.start() for number in self.learned.values()}

    def natural(self, lam: Tree) -> dict[str, Tensor]:
        """The outer variables of the dynamics in natural units."""
        return {name: number.natural(lam) for name, number in self.learned.items()}

    def carried(self, lam: Tree) -> dict[str, Tree]:
        """The entries of lam that the dynamics read, for an embedding to carry along."""
        return {number.free: entry(lam, number.free) for number in self.learned.values()}

    @torch.no_grad()
    def solve(self, problem: Problem, dynamics: Dynamics, lam: Tree, *, steps: int | None = None) -> Tree:
        """w_T from the dynamics, or w* where the closed form stands in for it."""
        if self.closed_form and problem.solution is not None:
            return problem.solution(lam)
        return run(dynamics, lam, steps or self.steps)[1].w


def entry(lam: Tree, name: str) -> Tensor:
    """lam[name]; every problem here states lam as a dict of named outer variables."""
    return cast("dict[str, Tensor]", lam)[name]


MOST_ROWS = 4_000_000
"""Indices of minibatches that are kept, at most: 32 MB."""
ENTRY_ROWS = 40
"""As many indices take the memory of what a minibatch has beside its own: 320 bytes (measured)."""


def kept(rows: int) -> int:
    """How many minibatches with so many indices are kept; two at least: a step is looked at, and then made."""
    return max(2, MOST_ROWS // (rows + ENTRY_ROWS))


def minibatches(
    objective: PartObjective,
    *,
    examples: int,
    batch: int | None,
    seed: int,
    device: torch.device,
) -> tuple[Objective, StepObjective]:
    """The inner objective over all examples, and what step t sees of it.

    A minibatch is drawn without replacement and is a function of (seed, t) alone: every hyperiteration sees the same
    ones, so that f_T is one function. Drawn with numpy, as torch draws nothing under vmap.
    """
    everything = taking(lambda w, lam: (w, lam, ALL), objective)
    if batch is None or batch == examples:
        return everything, full_batch(everything)

    @lru_cache(maxsize=kept(batch))  # to draw them takes longer than a step of a small model
    def rows(t: int) -> NDArray[np.int64]:  # no tensor: one that is made under vmap belongs to it
        draws = np.random.default_rng(stream(seed, "minibatch", t).initial_seed())
        return draws.choice(examples, batch, replace=False)

    return everything, taking(lambda t, w, lam: (w, lam, torch.from_numpy(rows(t)).to(device)), objective, 1)
