"""Algorithms that walk w to the inner solution for a few steps, then solve for v, then move lam.

D_lam = grad_lam E + (grad_lam,w L) v with v ~ -(grad_ww L)^-1 grad_w E; lam = project(lam - gamma D_lam); then `steps`
steps w -= rho grad_w L at the new lam. The algorithms differ in how they get v. Every gradient and product takes a
minibatch of its own.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.algorithms.single_loop import Rates, inner_variables
from core.bilevel.finite_sum import Oracles
from core.bilevel.problem import Algorithm, AlgorithmState, Tree
from core.bilevel.randomness import stream

Products = Callable[[int, Tree], Tree]
"""(j, v) -> the product of v with the inner Hessian of the j-th minibatch."""
LinearSteps = Callable[[int, Products, Tree, Tree, float], Tree]
"""(k, products, grad_w E, v of the last hyperiteration, rate) -> v ~ -(grad_ww L)^-1 grad_w E."""


def two_loop(
    oracles: Oracles,
    linear: LinearSteps,
    rates: Rates,
    project: Callable[[Tree], Tree],
    *,
    steps: int,
    linear_rate: float | None = None,
) -> Algorithm:
    """Inner steps, v, outer step. The state holds the w that belongs to lam: the first inner steps are in `init`.

    `linear_rate` is the rate of the steps for v, by default that of w. Series as in `single_loop`, with
    "inner_gradient_norm" of the minibatch that the product (grad_lam,w L) v takes.
    """
    walking, crossing = range(steps), steps  # roles of the minibatches; those of v come after

    def walk(k: int, w: Tree, lam: Tree) -> Tree:
        for role in walking:
            gradient = oracles.inner_gradient(oracles.inner_blocks.at(k, role), w, lam)
            w = trees.axpy(-rates.inner(k), gradient, w)
        return w

    def init(lam: Tree) -> AlgorithmState:
        start = oracles.problem.init(lam)
        return AlgorithmState(lam, {"w": walk(0, start, lam), "v": trees.zeros_like(start)})

    def step(k: int, state: AlgorithmState) -> tuple[AlgorithmState, Mapping[str, Tensor]]:
        w, lam = state.aux["w"], state.lam

        def products(j: int, v: Tree) -> Tree:
            return oracles.hessian_product(oracles.inner_blocks.at(k, crossing + 1 + j), w, lam, v)

        outer = oracles.outer_gradients(oracles.outer_blocks.at(k), w, lam)
        rate = rates.inner(k) if linear_rate is None else linear_rate
        v = linear(k, products, outer.w, state.aux["v"], rate)
        found = oracles.products(oracles.inner_blocks.at(k, crossing), w, lam, v)
        toward = trees.add(outer.lam, found.cross)
        series = {
            "outer_objective": outer.value,
            "hypergradient_norm": trees.norm(toward),
            "inner_gradient_norm": trees.norm(found.gradient),
            "auxiliary_gradient_norm": trees.norm(trees.add(found.hessian, outer.w)),
        }
        lam = project(trees.axpy(-rates.outer(k), toward, lam))
        return AlgorithmState(lam, {"w": walk(k + 1, w, lam), "v": v}), series

    return Algorithm(init, step, inner_variables)


def neumann(*, terms: int) -> LinearSteps:
    """stocBiO (Ji, Yang and Liang 2021): v = -rate sum_{q=0..terms} prod_{j<q} (I - rate H_j) grad_w E."""

    def solve(k: int, products: Products, gradient: Tree, before: Tree, rate: float) -> Tree:
        power = total = gradient
        for j in range(terms):
            power = trees.axpy(-rate, products(j, power), power)
            total = trees.add(total, power)
        found: Tree = trees.scale(-rate, total)
        return found

    return solve


def warm_started(*, steps: int) -> LinearSteps:
    """AmIGO (Arbel and Mairal 2022): `steps` steps v -= rate (H_j v + grad_w E) from the last v."""

    def solve(k: int, products: Products, gradient: Tree, before: Tree, rate: float) -> Tree:
        v = before
        for j in range(steps):
            v = trees.axpy(-rate, trees.add(products(j, v), gradient), v)
        return v

    return solve


def randomized_neumann(*, terms: int, seed: int) -> LinearSteps:
    """TTSA (Hong et al. 2023), after Ghadimi and Wang (2018): one term of the Neumann series, drawn uniformly.

    v = -terms rate prod_{j<p} (I - rate H_j) grad_w E with p from 0..terms-1: its mean over p is the series' sum.
    """

    def solve(k: int, products: Products, gradient: Tree, before: Tree, rate: float) -> Tree:
        last = int(torch.randint(terms, (), generator=stream(seed, "terms", k)))
        power = gradient
        for j in range(last):
            power = trees.axpy(-rate, products(j, power), power)
        found: Tree = trees.scale(-terms * rate, power)
        return found

    return solve
