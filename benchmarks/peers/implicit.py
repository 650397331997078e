"""The hypergradient of softmax regression at a given solution by implicit differentiation, with JAXopt and TorchOpt.

L(w, lam) = mean CE(x w) + 1/2 sum_jc exp(lam_j) w_jc^2, E = mean validation CE; each function gives a call that
returns dE/dlam [d].
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jaxopt
import numpy as np
import torch
import torchopt
from torch import Tensor
from torch.nn import functional

Call = Callable[[], np.ndarray]


class Solved(NamedTuple):
    """The data, lam, and w*(lam)."""

    x: Tensor
    y: Tensor
    x_validation: Tensor
    y_validation: Tensor
    lam: Tensor
    """Log-strengths [d]."""
    w: Tensor
    """[d, C]."""


def with_jaxopt(solved: Solved, *, normal: bool = False, tolerance: float = 1e-7) -> Call:
    """`custom_root` on the stationarity, with CG, or (its default) with CG on the normal equations."""
    double = solved.w.dtype == torch.float64
    with jax.enable_x64(double):
        lam = jnp.asarray(solved.lam.numpy())
        gradient = jax.jit(jax.grad(_jax_objective(solved, normal=normal, tolerance=tolerance)))

    def call() -> np.ndarray:
        with jax.enable_x64(double):
            return np.asarray(jax.block_until_ready(gradient(lam)))

    return call


def _jax_objective(solved: Solved, *, normal: bool, tolerance: float) -> Callable[[Any], Any]:
    x, xv, w = (jnp.asarray(part.numpy()) for part in (solved.x, solved.x_validation, solved.w))
    y, yv = (jnp.asarray(labels.numpy()) for labels in (solved.y, solved.y_validation))

    def cross_entropy(scores: Any, labels: Any) -> Any:
        return -jnp.take_along_axis(jax.nn.log_softmax(scores), labels[:, None], 1).mean()

    def inner(w: Any, lam: Any) -> Any:
        return cross_entropy(x @ w, y) + 0.5 * (jnp.exp(lam)[:, None] * w * w).sum()

    solver = jaxopt.linear_solve.solve_normal_cg if normal else jaxopt.linear_solve.solve_cg
    solve = partial(solver, tol=tolerance, maxiter=10_000)
    solution = jaxopt.implicit_diff.custom_root(jax.grad(inner), solve=solve)(lambda start, lam: w)
    return lambda lam: cross_entropy(xv @ solution(None, lam), yv)


def with_torchopt(solved: Solved, *, normal: bool = False, tolerance: float = 1e-7) -> Call:
    """`custom_root` on the stationarity, likewise."""

    def inner(w: Tensor, lam: Tensor) -> Tensor:
        penalty = 0.5 * (lam.exp()[:, None] * w * w).sum()
        return functional.cross_entropy(solved.x @ w, solved.y) + penalty

    solver = torchopt.linear_solve.solve_normal_cg if normal else torchopt.linear_solve.solve_cg

    solution = torchopt.diff.implicit.custom_root(
        torch.func.grad(inner, argnums=0), argnums=1, solve=solver(rtol=tolerance, atol=0.0, maxiter=10_000)
    )(lambda start, lam: solved.w.clone())

    def call() -> np.ndarray:
        lam = solved.lam.clone().requires_grad_()
        loss = functional.cross_entropy(solved.x_validation @ solution(solved.w, lam), solved.y_validation)
        found: np.ndarray = torch.autograd.grad(loss, lam)[0].numpy()
        return found

    return call
