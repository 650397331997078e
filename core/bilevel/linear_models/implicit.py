"""Implicit differentiation of linear models: analytic Hessian products, and conjugate gradient that is preconditioned.

The condition and the solvers go into `hypergradients.implicit_at`; nothing is differentiated but what lam does to
weights and strengths.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from core.bilevel.derivatives import vjp
from core.bilevel.hypergradients.implicit import Linearization, SolverAt
from core.bilevel.linear_models.curvature import Curvature, curvature
from core.bilevel.linear_models.model import LinearModel
from core.bilevel.linear_models.preconditioner import preconditioner
from core.bilevel.linear_models.walk import Coefficients, coefficients, model_of
from core.bilevel.linear_solve import Operator, Solution, Solver, cg, cg_once, refined
from core.bilevel.problem import Dynamics, Problem, State, Tree


def stationarity(problem: Problem, dynamics: Dynamics, state: State, lam: Tree, steps: int) -> Linearization:
    """As `hypergradients.stationarity`, for a problem whose inner objective is a linear model's."""
    model = model_of(problem)
    hessian = curvature(model, state.w, lam)

    def pull(x: Any) -> Tree:
        return _mixed(model, hessian, lam, model.matrix(state.w).mT, model.matrix(x.w).mT)

    return Linearization(State(state.w), _on_states(model, hessian.product), pull)


def _mixed(model: LinearModel, hessian: Curvature, lam: Tree, w: Tensor, v: Tensor) -> Tree:
    """d/dlam <grad L(W, lam), V> by the coefficients: sum_c (P - Y) V x' for the scale, W V for the strengths."""
    error = (hessian.mean - hessian.data.y) * hessian.data.scores(v)
    c, pull = vjp(lambda lam: coefficients(model, 0.0, lam), lam)
    grad: Tree = pull(Coefficients(error.sum(-2, keepdim=True), w * v, torch.zeros_like(c.rate)))[0]
    return grad


def _on_states(model: LinearModel, product: Callable[[Tensor], Tensor]) -> Operator:
    """A function of V [C, d] as one of states."""

    def operator(x: Any) -> State:
        return State(model.tree(product(model.matrix(x.w).mT).mT))

    return operator


def _on_tensors(product: Callable[[Tensor], Tensor]) -> Operator:
    """A tensor is a tree."""

    def operator(x: Tree) -> Tree:
        assert isinstance(x, Tensor)
        return product(x)

    return operator


def preconditioned(*, iterations: int = 100, tolerance: float = 1e-6, damping: float = 0.0) -> SolverAt:
    """`cg` with the preconditioner that suits the model, made in single precision."""

    def solver_at(problem: Problem, state: State, lam: Tree) -> Solver:
        model = model_of(problem)
        close = preconditioner(curvature(model, state.w, lam, damping).within(model.class_major.single))
        solve = _on_states(model, close.solve)
        return partial(cg, iterations=iterations, tolerance=tolerance, preconditioner=solve)

    return solver_at


def mixed_precision(*, iterations: int = 100, tolerance: float = 1e-6, damping: float = 0.0) -> SolverAt:
    """Rounds of preconditioned `cg` in single precision, with residuals in that of the model between them.

    `iterations` bounds the products of a round. Rounds end at the square root of `tolerance`, so that two of them reach
    it; at no less than 1e-4, which single precision reaches safely.
    """
    loose = max(tolerance**0.5, 1e-4)

    def solver_at(problem: Problem, state: State, lam: Tree) -> Solver:
        model = model_of(problem)
        hessian = curvature(model, state.w, lam, damping).within(model.class_major.single)
        knobs: dict[str, Any] = {"iterations": iterations, "tolerance": loose}
        knobs["preconditioner"] = _on_tensors(preconditioner(hessian).solve)

        def approximate(r: Any, enough: float, left: float) -> Solution:
            found = cg_once(_on_tensors(hessian.product), model.matrix(r.w).mT.float(), **knobs)
            assert isinstance(found.x, Tensor)
            return found._replace(x=State(model.tree(found.x.mT.to(model.x.dtype))))

        return partial(refined, approximate=approximate, tolerance=tolerance)

    return solver_at
