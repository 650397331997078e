"""Automatic differentiation through lam -> E(w_T(lam), lam); keeps the graph of every step."""

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.derivatives import vjp_with_aux
from core.bilevel.hypergradients.inner import check, diagnose, run
from core.bilevel.problem import Dynamics, Hypergradient, Problem, State, Tree


@torch.no_grad()
def unrolled(problem: Problem, dynamics: Dynamics, lam: Tree, *, steps: int) -> Hypergradient:
    """One backward pass through the whole inner optimization: the plainest method, and the hungriest for memory."""
    check(problem, steps)
    lam = trees.detach(lam)

    def objective(lam: Tree) -> tuple[Tensor, tuple[State, State]]:
        start, end = run(dynamics, lam, steps)
        return problem.outer(end.w, lam), (start, end)

    outer_loss, pull, (start, end) = vjp_with_aux(objective, lam)
    (grad,) = pull(torch.ones_like(outer_loss))
    return Hypergradient(grad, outer_loss, end, diagnose(problem, lam, start.w, end.w))
