"""Estimates of the single loop's directions whose noise dies out as the point settles, so that rates stay constant."""

from typing import Any, cast

from core.bilevel import trees
from core.bilevel.algorithms.single_loop import Estimate, Estimator, Point, directions, drawn, evaluated
from core.bilevel.finite_sum import Oracles, OuterGradients, Products
from core.bilevel.problem import Tree


def saga(oracles: Oracles) -> Estimator:
    """SABA (Dagréou et al. 2022): each of the five terms as fresh - stored + mean of the stored (SAGA).

    Remembers what every block gave when it was last drawn: count_L (2 dim w + dim lam) + count_E (dim w + dim lam)
    numbers. A block that has not come yet counts as the mean of those that have, so that the first pass takes every
    block as it is (SOBA). Unbiased for a block drawn at random, and without noise at a point that stays.
    """

    def init(point: Point) -> Tree:
        inner = Products(*(trees.zeros_like(part) for part in (point.w, point.v, point.lam)))
        outer = (trees.zeros_like(point.w), trees.zeros_like(point.lam))
        return {"inner": _empty(inner, oracles.inner_blocks.count), "outer": _empty(outer, oracles.outer_blocks.count)}

    def at(k: int, point: Point, memory: Tree) -> Estimate:
        stored = cast("dict[str, Any]", memory)
        i, j = drawn(oracles, k)
        gradients = oracles.outer_gradients(j, point.w, point.lam)
        inner, stored_inner = _corrected(oracles.products(i, *_order(point)), stored["inner"], i, k)
        outer, stored_outer = _corrected((gradients.w, gradients.lam), stored["outer"], j, k)
        toward = directions(inner, OuterGradients(gradients.value, *outer))
        return Estimate(toward, gradients.value, {"inner": stored_inner, "outer": stored_outer})

    return Estimator(init, at)


def recursive(oracles: Oracles, *, period: int | None) -> Estimator:
    """SRBA (Dagréou et al. 2023): D_k = D_{k-1} + block at point_k - the same block at point_{k-1} (SARAH).

    Every `period`-th hyperiteration computes D_k from all examples; by default as many as there are blocks.
    """
    every = period or oracles.inner_blocks.count + oracles.outer_blocks.count

    def init(point: Point) -> Tree:
        return {"point": point, "directions": Point(*(trees.zeros_like(part) for part in point))}

    def at(k: int, point: Point, memory: Tree) -> Estimate:
        before = cast("dict[str, Any]", memory)
        if k % every == 0:
            toward, value = evaluated(oracles, None, None, point)
        else:
            here, value = evaluated(oracles, *drawn(oracles, k), point)
            there, _ = evaluated(oracles, *drawn(oracles, k), before["point"])
            toward = trees.add(before["directions"], trees.subtract(here, there))
        return Estimate(toward, value, {"point": point, "directions": toward})

    return Estimator(init, at)


def _order(point: Point) -> tuple[Tree, Tree, Tree]:
    return point.w, point.lam, point.v


def _empty(zeros: Tree, count: int) -> dict[str, Any]:
    # A tuple of blocks: the next state shares all but one with this one, so that a step copies no memory.
    return {"blocks": (zeros,) * count, "mean": zeros}


def _corrected(fresh: Any, stored: dict[str, Any], block: int, k: int) -> tuple[Any, dict[str, Any]]:
    """fresh - stored + mean of the stored, and the memory with the fresh one in its place.

    The first `count` hyperiterations draw blocks that have not come yet: each counts as the mean of the k before.
    """
    blocks, mean = stored["blocks"], stored["mean"]
    change = trees.subtract(fresh, blocks[block] if k >= len(blocks) else mean)
    replaced = (*blocks[:block], fresh, *blocks[block + 1 :])
    moved = trees.axpy(1 / min(k + 1, len(blocks)), change, mean)
    return trees.add(change, mean), {"blocks": replaced, "mean": moved}
