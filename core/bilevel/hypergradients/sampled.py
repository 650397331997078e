"""Samples of the inner Hessian for the stochastic linear solver: A_j = Hessian of L on minibatch j."""

from collections.abc import Callable
from functools import partial

import torch

from core.bilevel.derivatives import vjp
from core.bilevel.dynamics import StepObjective
from core.bilevel.hypergradients.implicit import SolverAt
from core.bilevel.linear_solve import Operator, Solver, damped, stochastic
from core.bilevel.problem import Problem, State, Tree


def on_minibatches(
    objective: StepObjective, *, first: int, iterations: int, rate: float, damping: float = 0.0
) -> SolverAt:
    """`stochastic` on the Hessians of objective(first + j, w, lam), j = 0, 1, ..., at the place.

    The right-hand side and the derivative with respect to lam are those of all examples, so that the expectation of
    the hypergradient is what as many steps of gradient descent on the whole system would give.
    """

    def solver_at(problem: Problem, state: State, lam: Tree) -> Solver:
        return partial(stochastic, sample=sample(state, lam), iterations=iterations, rate=rate)

    def sample(state: State, lam: Tree) -> Callable[[int], Operator]:
        def product(j: int) -> Operator:
            gradient = torch.func.grad(lambda w: objective(first + j, w, lam))
            _, pull = vjp(lambda s: State(gradient(s.w)), State(state.w))
            return damped(lambda x: pull(x)[0], damping)

        return product

    return solver_at
