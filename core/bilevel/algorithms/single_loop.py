"""Algorithms that move w, v and lam together, one step a hyperiteration (Dagréou et al. 2022).

D_w = grad_w L, D_v = (grad_ww L) v + grad_w E, D_lam = (grad_lam,w L) v + grad_lam E, all at the same old point;
w -= rho D_w, v -= rho D_v, lam = project(lam - gamma D_lam). D_v pulls v to -(grad_ww L)^-1 grad_w E, with which
D_lam is the hypergradient. The algorithms differ in how they estimate the directions from minibatches alone.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from core.bilevel import trees
from core.bilevel.finite_sum import Oracles, OuterGradients, Products
from core.bilevel.optimizers import power_law
from core.bilevel.problem import Algorithm, AlgorithmState, Tree


class Point(NamedTuple):
    """Where an algorithm is."""

    w: Tree
    v: Tree
    lam: Tree


class Estimate(NamedTuple):
    """The directions, one for each part of the point."""

    directions: Point
    outer_objective: Tensor
    """Of the minibatch, at the point."""
    memory: Tree


class Estimator(NamedTuple):
    """A way to estimate the directions."""

    init: Callable[[Point], Tree]
    """What is remembered before hyperiteration 0."""
    at: Callable[[int, Point, Tree], Estimate]
    """(k, point, what is remembered) -> estimate."""


class Rates(NamedTuple):
    """Step sizes of hyperiteration k."""

    inner: Callable[[int], float]
    outer: Callable[[int], float]


def rates(inner: float, outer: float, *, inner_exponent: float = 0.0, outer_exponent: float = 0.0) -> Rates:
    """rate / (k + 1)^exponent for both."""
    return Rates(power_law(inner, inner_exponent), power_law(outer, outer_exponent))


def single_loop(oracles: Oracles, estimator: Estimator, rates: Rates, project: Callable[[Tree], Tree]) -> Algorithm:
    """One step along the estimated directions a hyperiteration, from w_0 and v = 0.

    Series: "outer_objective" is that of the minibatch; "hypergradient_norm" is ||D_lam||, of the estimate;
    "inner_gradient_norm" and "auxiliary_gradient_norm" are ||D_w|| and ||D_v||. No pass over all examples is made
    for them.
    """

    def init(lam: Tree) -> AlgorithmState:
        w = oracles.problem.init(lam)
        v = trees.zeros_like(w)
        return AlgorithmState(lam, {"w": w, "v": v, "memory": estimator.init(Point(w, v, lam))})

    def step(k: int, state: AlgorithmState) -> tuple[AlgorithmState, Mapping[str, Tensor]]:
        aux = state.aux
        found = estimator.at(k, Point(aux["w"], aux["v"], state.lam), aux["memory"])
        toward = found.directions
        series = {
            "outer_objective": found.outer_objective,
            "hypergradient_norm": trees.norm(toward.lam),
            "inner_gradient_norm": trees.norm(toward.w),
            "auxiliary_gradient_norm": trees.norm(toward.v),
        }
        w = trees.axpy(-rates.inner(k), toward.w, aux["w"])
        v = trees.axpy(-rates.inner(k), toward.v, aux["v"])
        lam = project(trees.axpy(-rates.outer(k), toward.lam, state.lam))
        return AlgorithmState(lam, {"w": w, "v": v, "memory": found.memory}), series

    return Algorithm(init, step, inner_variables)


def directions(inner: Products, outer: OuterGradients) -> Point:
    """D_w, D_v, D_lam."""
    return Point(inner.gradient, trees.add(inner.hessian, outer.w), trees.add(inner.cross, outer.lam))


def evaluated(oracles: Oracles, inner: int | None, outer: int | None, point: Point) -> tuple[Point, Tensor]:
    """The directions from one block of each objective (None: all of it), and the outer objective there."""
    gradients = oracles.outer_gradients(outer, point.w, point.lam)
    return directions(oracles.products(inner, point.w, point.lam, point.v), gradients), gradients.value


def drawn(oracles: Oracles, k: int) -> tuple[int, int]:
    """The blocks of hyperiteration k."""
    return oracles.inner_blocks.at(k), oracles.outer_blocks.at(k)


def stochastic(oracles: Oracles) -> Estimator:
    """SOBA (Dagréou et al. 2022): one block of each objective, nothing remembered; unbiased, with noise."""

    def at(k: int, point: Point, memory: Tree) -> Estimate:
        return Estimate(*evaluated(oracles, *drawn(oracles, k), point), ())

    return Estimator(lambda point: (), at)


def moving_average(oracles: Oracles, *, weight: float) -> Estimator:
    """MA-SOBA (Chen, Xiao and Balasubramanian 2023): d <- (1 - theta) d + theta D_lam from d = 0; lam follows d."""

    def at(k: int, point: Point, memory: Tree) -> Estimate:
        fresh, value = evaluated(oracles, *drawn(oracles, k), point)
        average = trees.axpy(weight, fresh.lam, trees.scale(1 - weight, memory))
        return Estimate(fresh._replace(lam=average), value, average)

    return Estimator(lambda point: trees.zeros_like(point.lam), at)


def inner_variables(state: AlgorithmState) -> Tree:
    """w."""
    found: Tree = state.aux["w"]
    return found
