"""Reptile (Nichol, Achiam and Schulman 2018): d = (dPhi_0/dlam)' (w_0 - w_T) / tasks, a direction, not a gradient.

Where w_0 = lam in every task this is the mean over tasks of w_0 - w_T: a step of size epsilon against it moves lam by
epsilon of the way to the mean of the w_T. It is the gradient of no function of lam, and E has no part in it.
"""

import torch

from core.bilevel import trees
from core.bilevel.derivatives import vjp
from core.bilevel.hypergradients.inner import check, diagnose, run
from core.bilevel.problem import Dynamics, Hypergradient, Problem, Tree


@torch.no_grad()
def reptile(problem: Problem, dynamics: Dynamics, lam: Tree, *, steps: int) -> Hypergradient:
    """The direction in place of `grad`; every leaf of w has a leading axis for tasks."""
    check(problem, steps)
    lam = trees.detach(lam)
    start, end = run(dynamics, lam, steps)
    way = trees.subtract(start.w, end.w)
    share = 1 / len(trees.leaves(way)[0])
    _, pull = vjp(lambda lam: dynamics.init(lam).w, lam)
    grad = trees.scale(share, pull(way)[0])
    return Hypergradient(grad, problem.outer(end.w, lam), end, diagnose(problem, lam, start.w, end.w))
