"""Forward gradient: g = 1/K sum_i (u_i . grad f) u_i along K random directions u_i with E[u u'] = I; unbiased.

Baydin, Pearlmutter, Syme, Wood, Torr 2022, for f(lam) = E(w_T(lam), lam). For n outer variables and directions whose
entries are independent with the fourth moment m, the variance is exactly
E ||g - grad f||^2 = (n + m - 2)/K ||grad f||^2, and E (u_i . grad f)^2 = ||grad f||^2.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from core.bilevel import trees
from core.bilevel.hypergradients.forward import Push, groups, push
from core.bilevel.hypergradients.inner import check_steps
from core.bilevel.problem import Dynamics, Hypergradient, Problem, Tree
from core.bilevel.randomness import stream


class Law(NamedTuple):
    """A distribution of numbers with mean 0 and variance 1, of which the entries of a direction are drawn."""

    draw: Callable[[int, Generator], Tensor]
    """(size, generator) -> [size], float64 on the CPU."""
    fourth_moment: float


def _signs(size: int, generator: Generator) -> Tensor:
    return torch.randint(0, 2, (size,), generator=generator).double() * 2 - 1


rademacher = Law(_signs, 1.0)
"""+1 or -1: the smallest variance of all laws."""
gaussian = Law(lambda size, generator: torch.randn(size, generator=generator, dtype=torch.float64), 3.0)
"""Standard normal: no direction is preferred."""


@torch.no_grad()
def random_forward(
    problem: Problem,
    dynamics: Dynamics,
    lam: Tree,
    *,
    steps: int,
    seed: int,
    k: int,
    directions: int = 1,
    law: Law = rademacher,
    chunk: int | None = None,
    push: Push = push,
) -> Hypergradient:
    """An unbiased estimate of the hypergradient for any number of outer variables; memory independent of the steps.

    Direction i is a function of (seed, k, i) only. The diagnostic "hypergradient_variance" estimates
    E ||g - grad f||^2 without bias, as (n + m - 2)/K mean_i (u_i . grad f)^2. With `chunk` = c at most c directions
    are pushed together.
    """
    check_steps(steps)
    if directions < 1:
        raise ValueError(f"directions is {directions}: it has to be at least 1")
    lam = trees.detach(lam)
    vector, unravel = trees.ravel(lam)
    grad, squares = torch.zeros_like(vector), vector.new_zeros(())
    for first, count in groups(directions, chunk):
        drawn = [law.draw(len(vector), stream(seed, "direction", k, i)) for i in range(first, first + count)]
        rows = torch.stack(drawn).to(vector)  # [count, n]
        pushed = push(problem, dynamics, lam, torch.func.vmap(unravel)(rows), steps=steps)
        grad += pushed.slopes @ rows / directions
        squares += pushed.slopes.square().sum() / directions
    variance = (len(vector) + law.fourth_moment - 2) / directions * squares
    diagnostics = {**pushed.diagnose(), "hypergradient_variance": variance}
    return Hypergradient(unravel(grad), pushed.outer_loss, pushed.end, diagnostics)
