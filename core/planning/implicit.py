"""What implicit differentiation takes: the inner steps, and a product for each iteration of the linear solver."""

from typing import assert_never

from core.planning.costs import Costs
from core.planning.steps import Need, Step, written_out
from core.planning.work import Work, product
from core.spec import algorithms

PRECONDITIONED = 25
"""Products that conjugate gradient takes on a linear model, preconditioned (measured: 10-30)."""


def implicit(solver: algorithms.LinearSolver, costs: Costs, step: Step, steps: int) -> Need:
    """Of one hyperiteration, the outer objective not counted."""
    g = costs.differentiated
    hessian_product = Work(1.2 * g.operations, 1.4 * g.traffic, 0.7 * g.operators)
    jacobian_product = Work(1.2 * step.once.operations, 1.4 * step.once.traffic, 0.7 * step.once.operators)
    vector = costs.item * costs.variables
    notes: tuple[str, ...] = ()
    d = costs.variables
    match solver:
        case algorithms.ConjugateGradient() if (close := costs.preconditioner) and solver.preconditioner == "auto":
            products, at_most = min(solver.iterations, d, PRECONDITIONED), False
            applied = Work(close.read / 2, close.read, 12)
            work = close.made + products * (written_out(costs, 8) + applied + Work(0, 12 * vector, 12))
            vectors, each = 5.0 * vector + close.memory, products
            notes = (f"Preconditioned, the linear solver is reckoned with {products} products.",)
        case algorithms.ConjugateGradient():
            # In exact arithmetic it ends after as many products as there are inner variables; the residual takes one.
            products, at_most = min(solver.iterations, d) + 1, True
            work, vectors, each = products * (hessian_product + Work(0, 12 * vector, 20)), 5.0 * vector, products
        case algorithms.ConjugateGradientNormal():
            products, at_most = min(solver.iterations, 2 * d) + 1, True
            work, vectors, each = products * (hessian_product + Work(0, 8 * vector, 12)), 5.0 * vector, products
        case algorithms.StochasticDescent():
            products, at_most = solver.iterations, False
            sampled = Work(2.2 * g.operations, 2.2 * g.traffic, 2.4 * g.operators)  # linearized anew for each minibatch
            work, vectors, each = products * (sampled + Work(0, 10 * vector, 25)), 4.0 * vector, products
        case algorithms.Neumann():
            products, at_most = solver.iterations, False
            work, vectors, each = products * (jacobian_product + Work(0, 8 * vector, 6)), 4.0 * vector, products
        case algorithms.FixedPoint():
            products, at_most = solver.iterations, True
            work, vectors, each = products * (jacobian_product + Work(0, 10 * vector, 8)), 4.0 * vector, products
        case algorithms.Dense():
            at_most, each = False, d
            work = d * Work(hessian_product.operations, hessian_product.traffic, 0) + product(d, d, d / 3, costs.item)
            vectors = costs.item * (4.0 * d * d) + d * costs.graph / 3
        case _:
            assert_never(solver)
    if at_most:
        notes = (f"The linear solver is reckoned with {each} products, the most that it makes: it may stop earlier.",)
    return Need(
        {"inner steps": steps * step.once, "linear solver": work, "equation": 3 * step.pulled},
        {"solver vectors": vectors, "graphs of one step": 2 * step.graph},
        notes,
    )
