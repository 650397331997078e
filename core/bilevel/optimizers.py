"""Outer optimizers: pairs of pure functions over trees, with inverse-time decay rate_k = rate / (1 + decay k)."""

from collections.abc import Callable
from typing import NamedTuple

from core.bilevel import trees
from core.bilevel.problem import Tree


class OuterOptimizer(NamedTuple):
    """An optimizer of the outer variables; its state is a tree of tensors, so that a checkpoint can hold it."""

    init: Callable[[Tree], Tree]
    """lam -> state."""
    step: Callable[[int, Tree, Tree, Tree], tuple[Tree, Tree]]
    """(k, gradient, state, lam) -> (next lam, next state), for k = 0, 1, ..."""


def inverse_time(rate: float, decay: float) -> Callable[[int], float]:
    """k -> rate / (1 + decay k)."""
    return lambda k: rate / (1 + decay * k)


def sgd(*, rate: float, decay: float = 0.0) -> OuterOptimizer:
    """lam_{k+1} = lam_k - rate_k g_k."""
    rate_at = inverse_time(rate, decay)

    def step(k: int, grad: Tree, state: Tree, lam: Tree) -> tuple[Tree, Tree]:
        return trees.axpy(-rate_at(k), grad, lam), state

    return OuterOptimizer(lambda lam: (), step)


def momentum(*, rate: float, momentum: float = 0.9, decay: float = 0.0) -> OuterOptimizer:
    """v_{k+1} = mu v_k + g_k, lam_{k+1} = lam_k - rate_k v_{k+1}."""
    rate_at = inverse_time(rate, decay)

    def step(k: int, grad: Tree, state: Tree, lam: Tree) -> tuple[Tree, Tree]:
        velocity = trees.axpy(momentum, state, grad)
        return trees.axpy(-rate_at(k), velocity, lam), velocity

    return OuterOptimizer(trees.zeros_like, step)


def adam(
    *, rate: float, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, decay: float = 0.0
) -> OuterOptimizer:
    """Adam (Kingma and Ba 2015): lam_{k+1} = lam_k - rate_k mhat / (sqrt(vhat) + epsilon)."""
    rate_at = inverse_time(rate, decay)

    def init(lam: Tree) -> Tree:
        return {"first": trees.zeros_like(lam), "second": trees.zeros_like(lam)}

    def step(k: int, grad: Tree, state: Tree, lam: Tree) -> tuple[Tree, Tree]:
        assert isinstance(state, dict)
        first = trees.map_leaves(lambda m, g: beta1 * m + (1 - beta1) * g, state["first"], grad)
        second = trees.map_leaves(lambda v, g: beta2 * v + (1 - beta2) * g * g, state["second"], grad)
        correction1, correction2 = 1 - beta1 ** (k + 1), 1 - beta2 ** (k + 1)
        move = trees.map_leaves(lambda m, v: (m / correction1) / ((v / correction2).sqrt() + epsilon), first, second)
        return trees.axpy(-rate_at(k), move, lam), {"first": first, "second": second}

    return OuterOptimizer(init, step)
