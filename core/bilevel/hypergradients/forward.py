"""Forward mode: Z_0 = dPhi_0/dlam, Z_t = A_t Z_{t-1} + B_t, d E = grad_w E Z_T + grad_lam E.

One tangent for each entry of lam, all pushed through a step together; memory does not depend on the number of steps.
"""

from functools import partial

import torch

from core.bilevel import trees
from core.bilevel.derivatives import jvps
from core.bilevel.hypergradients.inner import check, diagnose
from core.bilevel.problem import Dynamics, Hypergradient, Problem, Tree


@torch.no_grad()
def forward(problem: Problem, dynamics: Dynamics, lam: Tree, *, steps: int) -> Hypergradient:
    """The hypergradient by Jacobian-vector products of single steps; for few outer variables."""
    check(problem, steps)
    lam = trees.detach(lam)
    directions = trees.basis(lam)
    start, tangents = jvps(dynamics.init, (lam,), (directions,))
    state = start
    for t in range(1, steps + 1):
        state, tangents = jvps(partial(dynamics.step, t), (state, lam), (tangents, directions))
    outer_loss, slopes = jvps(problem.outer, (state.w, lam), (tangents.w, directions))  # slopes [size of lam]
    return Hypergradient(trees.ravel(lam)[1](slopes), outer_loss, state, diagnose(problem, lam, start.w, state.w))
