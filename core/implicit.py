"""From the spec of implicit differentiation to a method for every hyperiteration."""

from functools import partial
from typing import Any, assert_never

from core.bilevel import linear_solve
from core.bilevel.hypergradients import dynamics_fixed_point, stationarity
from core.bilevel.hypergradients.implicit import Condition, SolverAt, implicit_at
from core.bilevel.hypergradients.implicit_series import Tolerances, exponential, implicit_series, polynomial
from core.bilevel.hypergradients.sampled import on_minibatches
from core.bilevel.linear_models import implicit as analytic
from core.bilevel.linear_solve import Solver
from core.bilevel.problem import MethodSeries
from core.spec import algorithms


def build_implicit(spec: algorithms.Implicit, *, linear: bool, steps: int) -> MethodSeries:
    """Symmetric solvers on the stationarity condition, series on the fixed point of the dynamics.

    `linear`: the inner problem is a linear model whose derivatives are written out.
    """
    tolerances = _tolerances(spec)
    condition = _condition(spec.solver, linear=linear)

    def at(k: int) -> Any:
        tolerance = None if tolerances is None else tolerances(k)
        return partial(
            implicit_at,
            solver_at=_solver_at(spec, tolerance, linear=linear, first=steps + 1 + k * 100_000),
            condition=condition,
            damping=spec.damping,
            stop=tolerance if spec.stop_inner else None,
        )

    return implicit_series(at, condition, system=spec.warm_start, inner=spec.warm_start_inner)


def _tolerances(spec: algorithms.Implicit) -> Tolerances | None:
    match spec.schedule:
        case None:
            return None
        case algorithms.ExponentialSchedule():
            return exponential(spec.schedule.initial, spec.schedule.decay)
        case algorithms.PolynomialSchedule():
            return polynomial(spec.schedule.initial, spec.schedule.power)
        case _:
            assert_never(spec.schedule)


def _condition(solver: algorithms.LinearSolver, *, linear: bool) -> Condition:
    match solver:
        case algorithms.Neumann() | algorithms.FixedPoint():
            return dynamics_fixed_point
        case algorithms.ConjugateGradient() if linear and solver.preconditioner == "auto":
            return analytic.stationarity
        case _:
            return stationarity


def _solver_at(spec: algorithms.Implicit, tolerance: float | None, *, linear: bool, first: int) -> SolverAt:
    """The solver of a hyperiteration, to the larger of `tolerance` and its own; its minibatches count from `first`."""
    solver = spec.solver
    knobs: dict[str, Any] = {} if isinstance(solver, algorithms.Dense) else {"iterations": solver.iterations}
    if isinstance(solver, algorithms.ConjugateGradient | algorithms.ConjugateGradientNormal | algorithms.FixedPoint):
        knobs["tolerance"] = max(solver.tolerance, tolerance or 0.0)
    match solver:
        case algorithms.ConjugateGradient():
            if linear and solver.preconditioner == "auto":
                make = analytic.mixed_precision if solver.mixed_precision else analytic.preconditioned
                return make(**knobs, damping=spec.damping)
            return _everywhere(partial(linear_solve.cg, **knobs))
        case algorithms.ConjugateGradientNormal():
            return _everywhere(partial(linear_solve.cg_normal, **knobs))
        case algorithms.Neumann():
            return _everywhere(partial(linear_solve.neumann, **knobs))
        case algorithms.FixedPoint():
            return _everywhere(partial(linear_solve.fixed_point, **knobs))
        case algorithms.Dense():
            return _everywhere(linear_solve.dense)
        case algorithms.StochasticDescent():
            return on_minibatches(**knobs, first=first, rate=solver.rate, damping=spec.damping)
        case _:
            assert_never(solver)


def _everywhere(solve: Solver) -> SolverAt:
    return lambda problem, state, lam: solve
