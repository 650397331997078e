"""Implicit differentiation: where F(s, lam) = 0 holds at s*(lam), d E = grad_lam E - (F_s^-T grad_s E)' F_lam.

Condition (what F is), solver (how the linear system is solved) and derivative are apart: any solver goes with any
condition that it is fit for.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from core.bilevel import trees
from core.bilevel.derivatives import vjp
from core.bilevel.hypergradients.inner import check, diagnose, run
from core.bilevel.linear_solve import Solver
from core.bilevel.problem import Dynamics, Hypergradient, Problem, State, Tree


class Equation(NamedTuple):
    """F(s, lam) = 0, and the s at which it is taken to hold."""

    at: State
    residual: Callable[[State, Tree], State]


Condition = Callable[[Problem, Dynamics, State, int], Equation]
"""(problem, dynamics, s_T, T) -> the equation that s_T nearly solves."""


def stationarity(problem: Problem, dynamics: Dynamics, state: State, steps: int) -> Equation:
    """grad_w L(w, lam) = 0: the system has the inner Hessian, symmetric; for `cg` and `dense`."""
    gradient = torch.func.grad(problem.inner)
    return Equation(State(state.w), lambda s, lam: State(gradient(s.w, lam)))


def dynamics_fixed_point(problem: Problem, dynamics: Dynamics, state: State, steps: int) -> Equation:
    """s - Phi_T(s, lam) = 0: the system is I - J' with J the Jacobian of the last step; for `neumann`, `fixed_point`.

    Where a step sees a minibatch, J is that of the last minibatch.
    """
    return Equation(state, lambda s, lam: trees.subtract(s, dynamics.step(steps, s, lam)))


@torch.no_grad()
def implicit(
    problem: Problem,
    dynamics: Dynamics,
    lam: Tree,
    *,
    steps: int,
    solve: Solver,
    condition: Condition = stationarity,
) -> Hypergradient:
    """The hypergradient at s_T as if the condition held there; memory independent of the number of steps.

    How w_T came about does not matter, so outer variables that act on w_0 or the rates only get the gradient 0 from
    `stationarity`, and next to 0 from `dynamics_fixed_point`.
    """
    check(problem, steps)
    lam = trees.detach(lam)
    start, end = run(dynamics, lam, steps)
    equation = condition(problem, dynamics, end, steps)

    outer_loss, pull = vjp(problem.outer, end.w, lam)
    slope, direct = pull(torch.ones_like(outer_loss))
    _, transposed = vjp(lambda s: equation.residual(s, lam), equation.at)
    solution = solve(lambda v: transposed(v)[0], State(slope, trees.zeros_like(equation.at.aux)))
    _, pull_lam = vjp(lambda lam: equation.residual(equation.at, lam), lam)
    grad = trees.subtract(direct, pull_lam(solution.x)[0])
    diagnostics = {
        **diagnose(problem, lam, start.w, end.w),
        "solver_residual": solution.residual,
        "solver_iterations": torch.tensor(float(solution.iterations)),
    }
    return Hypergradient(grad, outer_loss, end, diagnostics)
