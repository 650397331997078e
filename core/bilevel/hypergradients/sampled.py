"""Samples of the inner Hessian for the stochastic linear solver: A_j = Hessian of L on minibatch j."""

from functools import partial

from core.bilevel.derivatives import gradient, vjp
from core.bilevel.hypergradients.implicit import SolverAt
from core.bilevel.linear_solve import Operator, Solver, damped, stochastic
from core.bilevel.problem import Problem, State, Tree


def on_minibatches(*, first: int, iterations: int, rate: float, damping: float = 0.0) -> SolverAt:
    """`stochastic` on the Hessians of the minibatches first, first + 1, ... of the inner objective.

    The right-hand side and the derivative with respect to lam are those of all examples, so that the expectation of
    the hypergradient is what as many steps of gradient descent on the whole system would give.
    """

    def solver_at(problem: Problem, state: State, lam: Tree) -> Solver:
        def sample(j: int) -> Operator:
            return damped(_hessian(problem, first + j, state.w, lam), damping)

        return partial(stochastic, sample=sample, iterations=iterations, rate=rate)

    return solver_at


def _hessian(problem: Problem, t: int, w: Tree, lam: Tree) -> Operator:
    objective = problem.minibatch
    if objective is None:
        raise ValueError("the inner objective has no minibatches: give the problem `minibatch`, or use another solver")
    inner_gradient = gradient(objective, 1)
    _, pull = vjp(lambda s: State(inner_gradient(t, s.w, lam)), State(w))
    return lambda x: pull(x)[0]
