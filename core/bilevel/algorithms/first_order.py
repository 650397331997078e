"""Algorithms that take gradients only: the optimality gap q(w, lam) = L(w, lam) - min L(., lam) is a penalty.

z follows argmin L(., lam), so that grad_lam min L(., lam) = grad_lam L(z, lam) and no Hessian is met.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.algorithms.single_loop import Rates, inner_variables
from core.bilevel.finite_sum import Oracles
from core.bilevel.problem import Algorithm, AlgorithmState, Tree


def f2sa(
    oracles: Oracles,
    rates: Rates,
    multiplier: Callable[[int], float],
    project: Callable[[Tree], Tree],
    *,
    steps: int,
) -> Algorithm:
    """F2SA (Kwon et al. 2023), with the penalty's weight mu_k a function of k that grows.

    `steps` times: z -= rho grad_w L(z), y -= rho (grad_w L(y) + grad_w E(y) / mu_k), which is the paper's step
    rho / mu_k along mu_k grad_w L + grad_w E. Then lam -= gamma (grad_lam E(y) + mu_k (grad_lam L(y) - grad_lam L(z))),
    the last two on the same minibatch, as the noise of the difference is multiplied by mu_k. w of the algorithm is z.
    For a constant mu and all examples, lam tends to a stationary point of min_y E + mu q, a bias of O(1 / mu).
    """

    def init(lam: Tree) -> AlgorithmState:
        w = oracles.problem.init(lam)
        return AlgorithmState(lam, {"w": w, "y": w})

    def step(k: int, state: AlgorithmState) -> tuple[AlgorithmState, Mapping[str, Tensor]]:
        z, y, lam, mu, rate = state.aux["w"], state.aux["y"], state.lam, multiplier(k), rates.inner(k)
        for role in range(1, steps + 1):
            i, j = oracles.inner_blocks.at(k, role), oracles.outer_blocks.at(k, role)
            pull = trees.axpy(1 / mu, oracles.outer_gradient(j, y, lam), oracles.inner_gradient(i, y, lam))
            z = trees.axpy(-rate, oracles.inner_gradient(i, z, lam), z)
            y = trees.axpy(-rate, pull, y)
        i = oracles.inner_blocks.at(k)
        outer = oracles.outer_gradients(oracles.outer_blocks.at(k), y, lam)
        by_z, at_z = oracles.inner_gradients(i, z, lam)
        by_y, at_y = oracles.inner_gradients(i, y, lam)
        toward = trees.axpy(mu, trees.subtract(at_y, at_z), outer.lam)
        series = {
            "outer_objective": outer.value,
            "hypergradient_norm": trees.norm(toward),
            "inner_gradient_norm": trees.norm(by_z),
            "auxiliary_gradient_norm": trees.norm(trees.axpy(1 / mu, outer.w, by_y)),
            "multiplier": torch.full_like(outer.value, mu),
        }
        lam = project(trees.axpy(-rates.outer(k), toward, lam))
        return AlgorithmState(lam, {"w": z, "y": y}), series

    return Algorithm(init, step, inner_variables)


Gradients = tuple[Tree, Tree]
"""By w and by lam."""
Multiplier = Callable[[Gradients, Gradients, Tensor], Tensor]
"""(grad E, grad q, q) -> mu, the weight of the penalty."""


def penalized(
    oracles: Oracles,
    rates: Rates,
    multiplier: Multiplier,
    project: Callable[[Tree], Tree],
    *,
    steps: int,
    warm: bool,
    damped: bool,
) -> Algorithm:
    """(w, lam) -= rates x (grad E + mu grad q), grad q = (grad_w L(w), grad_lam L(w) - grad_lam L(z)).

    z comes from `steps` steps of gradient descent on L(., lam), from the last z if `warm`, else from w; it is constant
    in grad q. If `damped`, the step of w is rate / (1 + mu), stable for every mu where `rate` is for L and E.
    """

    def init(lam: Tree) -> AlgorithmState:
        w = oracles.problem.init(lam)
        return AlgorithmState(lam, {"w": w, "z": w} if warm else {"w": w})

    def step(k: int, state: AlgorithmState) -> tuple[AlgorithmState, Mapping[str, Tensor]]:
        w, lam, rate = state.aux["w"], state.lam, rates.inner(k)
        z = state.aux["z"] if warm else w
        for role in range(1, steps + 1):
            z = trees.axpy(-rate, oracles.inner_gradient(oracles.inner_blocks.at(k, role), z, lam), z)
        outer = oracles.outer_gradients(oracles.outer_blocks.at(k), w, lam)
        inner = oracles.inner(i := oracles.inner_blocks.at(k))
        gap_w, at_w = oracles.inner_gradients(i, w, lam)
        gap = (gap_w, trees.subtract(at_w, oracles.inner_gradients(i, z, lam)[1]))
        optimality = inner(w, lam) - inner(z, lam)
        mu = multiplier((outer.w, outer.lam), gap, optimality)
        by_w, by_lam = trees.axpy(mu, gap, (outer.w, outer.lam))
        series = {
            "outer_objective": outer.value,
            "hypergradient_norm": trees.norm(by_lam),
            "inner_gradient_norm": trees.norm(gap_w),
            "optimality_gap": optimality,
            "multiplier": mu,
        }
        w = trees.axpy(-rate / (1 + mu) if damped else -rate, by_w, w)
        lam = project(trees.axpy(-rates.outer(k), by_lam, lam))
        return AlgorithmState(lam, {"w": w, "z": z} if warm else {"w": w}), series

    return Algorithm(init, step, inner_variables)


def constant(mu: float) -> Multiplier:
    """PBGD (Shen and Chen 2023): the same weight always; stationary points of E + mu q, a bias of O(1 / mu)."""
    return lambda outer, gap, optimality: torch.full_like(optimality, mu)


def barrier(*, eta: float, by_gap: bool) -> Multiplier:
    """BOME (Ye et al. 2022): mu = max(phi - <grad E, grad q>, 0) / ||grad q||^2.

    So q falls by phi a unit of time where w and lam move at one rate, as in the paper; at different ones it need not.
    phi = eta ||grad q||^2, or eta q if `by_gap`. Where grad q = 0 so is mu.
    """

    def weight(outer: Gradients, gap: Gradients, optimality: Tensor) -> Tensor:
        square = trees.dot(gap, gap)
        phi = eta * (optimality if by_gap else square)
        return (phi - trees.dot(outer, gap)).clamp(min=0) / square.clamp(min=torch.finfo(square.dtype).tiny)

    return weight
