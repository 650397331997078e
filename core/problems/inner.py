"""How the inner problem is treated: which dynamics, how many steps, and which of their numbers are outer variables."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from core.bilevel.dynamics import Init, Scalar, StepObjective, full_batch
from core.bilevel.hypergradients.inner import run
from core.bilevel.problem import Dynamics, Objective, Problem, Tree
from core.bilevel.randomness import stream
from core.bilevel.transforms import Transform


class Learned(NamedTuple):
    """A number of the dynamics that is an outer variable: lam[free] = transform.inverse(natural value)."""

    free: str
    """Its name in lam, such as "log_rate"."""
    transform: Transform
    initial: float
    """Its natural value at hyperiteration 0."""

    def at(self, t: int, lam: Tree) -> Tensor:
        """The natural value, read from lam (or from z, which carries it along)."""
        return self.transform.forward(entry(lam, self.free))


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

    def initial(self) -> dict[str, Tree]:
        """The outer variables of the dynamics at hyperiteration 0."""
        return {
            number.free: number.transform.inverse(torch.tensor(number.initial, dtype=torch.float64))
            for number in self.learned.values()
        }

    def natural(self, lam: Tree) -> dict[str, Tensor]:
        """The outer variables of the dynamics in natural units."""
        return {name: number.at(0, lam) for name, number in self.learned.items()}

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


Rows = Tensor | slice
"""Which examples: indices, or all of them."""
ALL = slice(None)


def minibatches(
    objective: Callable[[Tree, Tree, Rows], Tensor],
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

    def everything(w: Tree, lam: Tree) -> Tensor:
        return objective(w, lam, ALL)

    if batch is None or batch == examples:
        return everything, full_batch(everything)

    def part(t: int, w: Tree, lam: Tree) -> Tensor:
        draws = np.random.default_rng(stream(seed, "minibatch", t).initial_seed())
        rows: Any = draws.choice(examples, batch, replace=False)
        return objective(w, lam, torch.from_numpy(rows).to(device))

    return everything, part
