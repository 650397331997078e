"""Through the closed form: d/dlam E(w*(lam), lam)."""

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.derivatives import vjp_with_aux
from core.bilevel.hypergradients.inner import check, diagnose
from core.bilevel.problem import Dynamics, Hypergradient, Problem, State, Tree


@torch.no_grad()
def exact(problem: Problem, dynamics: Dynamics, lam: Tree, *, steps: int) -> Hypergradient:
    """The hypergradient of the problem itself rather than of its approximation by T steps, which are not run."""
    check(problem, steps)
    solution = problem.solution
    if solution is None:
        raise ValueError("the problem has no closed form: give it a solution, or use reverse or implicit")
    lam = trees.detach(lam)

    def objective(lam: Tree) -> tuple[Tensor, Tree]:
        w = solution(lam)
        return problem.outer(w, lam), w

    outer_loss, pull, w = vjp_with_aux(objective, lam)
    (grad,) = pull(torch.ones_like(outer_loss))
    return Hypergradient(grad, outer_loss, State(w), diagnose(problem, lam, problem.init(lam), w))
