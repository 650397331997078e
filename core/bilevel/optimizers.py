"""Outer optimizers: pairs of pure functions over trees, with a rate that depends on the hyperiteration k."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.problem import Tree

Rates = Callable[[int], float]
"""k -> the rate of hyperiteration k."""

Numbers = Sequence[float | Tensor]
"""All that a step depends on k by; a graph is captured with scalar tensors."""


class OuterOptimizer(NamedTuple):
    """An optimizer of the outer variables; its state is a tree of tensors, so that a checkpoint can hold it."""

    init: Callable[[Tree], Tree]
    """lam -> state."""
    numbers: Callable[[int, int], tuple[float, ...]]
    """(k, m) -> the numbers of the step of hyperiteration k, the m-th, both from 0: m < k where some make none."""
    move: Callable[[Numbers, Tree, Tree, Tree], tuple[Tree, Tree]]
    """(numbers, gradient, state, lam) -> (next lam, next state)."""

    def step(self, k: int, grad: Tree, state: Tree, lam: Tree) -> tuple[Tree, Tree]:
        """The step of hyperiteration k where each makes one: (next lam, next state)."""
        return self.move(self.numbers(k, k), grad, state, lam)


def inverse_time(rate: float, decay: float = 0.0) -> Rates:
    """k -> rate / (1 + decay k)."""
    return lambda k: rate / (1 + decay * k)


def cosine(rate: Rates, hyperiterations: int) -> Rates:
    """k -> rate(k) (1 + cos(pi k / K)) / 2, which falls to 0 at K = hyperiterations (Loshchilov and Hutter 2017)."""
    return lambda k: rate(k) * (1 + math.cos(math.pi * k / hyperiterations)) / 2


def power_law(rate: float, exponent: float) -> Rates:
    """k -> rate / (k + 1)^exponent; grows where the exponent is negative."""
    return lambda k: rate / float((k + 1) ** exponent)


def sgd(*, rate: Rates) -> OuterOptimizer:
    """lam_{k+1} = lam_k - rate(k) g_k."""

    def move(numbers: Numbers, grad: Tree, state: Tree, lam: Tree) -> tuple[Tree, Tree]:
        (eta,) = numbers
        return trees.axpy(-eta, grad, lam), state

    return OuterOptimizer(lambda lam: (), lambda k, m: (rate(k),), move)


def momentum(*, rate: Rates, momentum: float = 0.9) -> OuterOptimizer:
    """v_{k+1} = mu v_k + g_k, lam_{k+1} = lam_k - rate(k) v_{k+1}."""

    def move(numbers: Numbers, grad: Tree, state: Tree, lam: Tree) -> tuple[Tree, Tree]:
        (eta,) = numbers
        velocity = trees.axpy(momentum, state, grad)
        return trees.axpy(-eta, velocity, lam), velocity

    return OuterOptimizer(trees.zeros_like, lambda k, m: (rate(k),), move)


def adam(*, rate: Rates, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> OuterOptimizer:
    """Adam (Kingma and Ba 2015): lam_{k+1} = lam_k - rate(k) mhat / (sqrt(vhat) + epsilon)."""

    def init(lam: Tree) -> Tree:
        return {"first": trees.zeros_like(lam), "second": trees.zeros_like(lam)}

    def numbers(k: int, m: int) -> tuple[float, ...]:
        return -rate(k) / (1 - beta1 ** (m + 1)), 1 - beta2 ** (m + 1)

    def move(numbers: Numbers, grad: Tree, state: Tree, lam: Tree) -> tuple[Tree, Tree]:
        assert isinstance(state, dict)
        factor, correction = numbers
        x, structure = trees.flatten(lam)
        g, m, v = (trees.leaves_as(structure, tree) for tree in (grad, state["first"], state["second"]))
        # All leaves together: a network has many small ones. What ends in _ changes what the line before has made.
        first = torch._foreach_mul(m, beta1)
        torch._foreach_add_(first, g, alpha=1 - beta1)
        second = torch._foreach_mul(v, beta2)
        torch._foreach_addcmul_(second, g, g, value=1 - beta2)
        root = torch._foreach_div(second, correction)
        torch._foreach_sqrt_(root)
        torch._foreach_add_(root, epsilon)
        moved = torch._foreach_addcdiv(x, torch._foreach_mul(first, factor), root)
        moments = {"first": _tree(first, structure), "second": _tree(second, structure)}
        return _tree(moved, structure), moments

    return OuterOptimizer(init, numbers, move)


def clipped(optimizer: OuterOptimizer, *, largest: float) -> OuterOptimizer:
    """The same optimizer on g min(1, largest / ||g||) (Pascanu et al. 2013)."""

    def move(numbers: Numbers, grad: Tree, state: Tree, lam: Tree) -> tuple[Tree, Tree]:
        shorter = (largest / trees.norm(grad)).clamp(max=1)
        return optimizer.move(numbers, trees.scale(shorter, grad), state, lam)

    return optimizer._replace(move=move)


def _tree(leaves: Sequence[Tensor], structure: trees.Structure) -> Tree:
    return trees.unflatten(list(leaves), structure)
