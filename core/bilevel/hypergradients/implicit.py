"""Implicit differentiation: where F(s, lam) = 0 holds at s*(lam), d E = grad_lam E - (F_s^-T grad_s E)' F_lam.

Condition (what F is), solver (how the linear system is solved) and derivative are apart: any solver goes with any
condition that it is fit for.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

from core.bilevel import trees
from core.bilevel.derivatives import gradient, vjp
from core.bilevel.hypergradients.inner import check, diagnose, run, run_until
from core.bilevel.linear_solve import Operator, Solver, Start, damped
from core.bilevel.problem import Dynamics, Hypergradient, Problem, State, Tree


class Linearization(NamedTuple):
    """F(s, lam) = 0 near the s at which it is taken to hold."""

    at: State
    operator: Operator
    """x -> F_s' x, on trees like `at`."""
    pull: Callable[[Tree], Tree]
    """x -> F_lam' x, a tree like lam."""


Condition = Callable[[Problem, Dynamics, State, Tree, int], Linearization]
"""(problem, dynamics, s_T, lam, T) -> the equation that s_T nearly solves."""
SolverAt = Callable[[Problem, State, Tree], Solver]
"""(problem, s_T, lam) -> the solver for the system there: its preconditioner or its samples depend on the place."""


def linearize(equation: Callable[[State, Tree], State], at: State, lam: Tree) -> Linearization:
    """The linearization of (s, lam) -> F by automatic differentiation."""
    _, transposed = vjp(lambda s: equation(s, lam), at)

    def pull(x: Tree) -> Tree:
        grad: Tree = vjp(lambda lam: equation(at, lam), lam)[1](x)[0]
        return grad

    return Linearization(at, lambda x: transposed(x)[0], pull)


def stationarity(problem: Problem, dynamics: Dynamics, state: State, lam: Tree, steps: int) -> Linearization:
    """grad_w L(w, lam) = 0: the system has the inner Hessian, symmetric; for `cg`, `cg_normal` and `dense`."""
    inner_gradient = gradient(problem.inner)
    return linearize(lambda s, lam: State(inner_gradient(s.w, lam)), State(state.w), lam)


def dynamics_fixed_point(problem: Problem, dynamics: Dynamics, state: State, lam: Tree, steps: int) -> Linearization:
    """s - Phi_T(s, lam) = 0: the system is I - J' with J the Jacobian of the last step; for `neumann`, `fixed_point`.

    Where a step sees a minibatch, J is that of the last minibatch.
    """
    return linearize(lambda s, lam: trees.subtract(s, dynamics.step(steps, s, lam)), state, lam)


def implicit(
    problem: Problem,
    dynamics: Dynamics,
    lam: Tree,
    *,
    steps: int,
    solve: Solver,
    condition: Condition = stationarity,
    damping: float = 0.0,
) -> Hypergradient:
    """The hypergradient at s_T as if the condition held there; memory independent of the number of steps.

    How w_T came about does not matter, so outer variables that act on w_0 or the rates only get the gradient 0 from
    `stationarity`, and next to 0 from `dynamics_fixed_point`. With `damping` the system is (F_s' + damping I) x = b.
    """
    at = partial(implicit_at, solver_at=lambda problem, s, lam: solve, condition=condition, damping=damping)
    return at(problem, dynamics, lam, steps=steps)._replace(carry=())


@torch.no_grad()
def implicit_at(
    problem: Problem,
    dynamics: Dynamics,
    lam: Tree,
    *,
    steps: int,
    solver_at: SolverAt,
    condition: Condition = stationarity,
    damping: float = 0.0,
    start: Start = None,
    stop: float | None = None,
) -> Hypergradient:
    """As `implicit`, with a solver made for the place; carries the solution "x" of the system and "w" = w_T.

    The solver starts from `start`. With `stop` the inner dynamics end, before `steps`, where ||grad_w L|| <= `stop`.
    """
    check(problem, steps)
    lam = trees.detach(lam)
    if stop is None:
        (first, end), took = run(dynamics, lam, steps), {}
    else:
        first, end, made = run_until(problem, dynamics, lam, steps, stop)
        took = {"inner_steps": torch.tensor(float(made))}
    system = condition(problem, dynamics, end, lam, steps)

    outer_loss, pull = vjp(problem.outer, end.w, lam)
    slope, direct = pull(torch.ones_like(outer_loss))
    rhs = State(slope, trees.zeros_like(system.at.aux))
    solution = solver_at(problem, end, lam)(damped(system.operator, damping), rhs, start)
    grad = trees.subtract(direct, system.pull(solution.x))
    diagnostics = {
        **diagnose(problem, lam, first.w, end.w),
        "solver_residual": solution.residual,
        "solver_iterations": torch.tensor(float(solution.iterations)),
        **took,
    }
    return Hypergradient(grad, outer_loss, end, diagnostics, {"x": solution.x, "w": end.w})
