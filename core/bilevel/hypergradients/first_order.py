"""First order: as if the inner steps changed nothing, A_t = I and B_t = 0: p = grad_lam E + (dPhi_0/dlam)' grad_w E.

Where w_0 does not depend on lam only the direct term is left ("approx" in section 5.3 of the paper); where it is lam,
this is first-order MAML (Finn et al. 2017).
"""

import torch

from core.bilevel import trees
from core.bilevel.derivatives import vjp
from core.bilevel.hypergradients.inner import check, diagnose, run
from core.bilevel.hypergradients.reverse import begin_back
from core.bilevel.problem import Dynamics, Hypergradient, Problem, Tree


@torch.no_grad()
def first_order(problem: Problem, dynamics: Dynamics, lam: Tree, *, steps: int) -> Hypergradient:
    """T steps forward, one gradient of E and no step back; biased by all that the steps do."""
    check(problem, steps)
    lam = trees.detach(lam)
    start, end = run(dynamics, lam, steps)
    outer_loss, alpha, direct = begin_back(problem, end, lam)
    grad = trees.add(direct, vjp(dynamics.init, lam)[1](alpha)[0])
    return Hypergradient(grad, outer_loss, end, diagnose(problem, lam, start.w, end.w))
