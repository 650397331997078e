"""Bilevel problems that are sums over examples, and the oracles that algorithms for them call on minibatches.

L(w, lam) = 1/n sum_i L_i(w, lam), E(w, lam) = 1/m sum_j E_j(w, lam). Both sets are cut into blocks once; a minibatch is
a block. With v ~ -(grad_ww L)^-1 grad_w E the hypergradient is grad_lam E + (grad_lam,w L) v.
"""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.derivatives import WithGradient, gradient, gradient_and_value, taking, vjp
from core.bilevel.problem import Objective, Tree
from core.bilevel.randomness import stream

Rows = Tensor | slice
"""Which examples: indices, or a range of them."""
ALL = slice(None)
KEPT = 64
"""Orders of blocks that are kept, as many as roles in a hyperiteration or more."""

PartObjective = Callable[[Tree, Tree, Rows], Tensor]
"""(w, lam, rows) -> scalar: the mean over these examples, with terms that have no example (a penalty) in full."""


@dataclass(frozen=True)
class FiniteSum:
    """A bilevel problem whose objectives are means over examples."""

    inner: PartObjective
    """L over some of the inner examples."""
    outer: PartObjective
    """E over some of the outer examples."""
    inner_examples: int
    outer_examples: int
    init: Callable[[Tree], Tree]
    """lam -> w_0."""


@dataclass(frozen=True)
class Blocks:
    """Examples 0..n-1 cut into ranges whose sizes differ by one at most, and the order in which they come."""

    examples: int
    batch: int | None
    """Largest size of a block; None: one block of all examples."""
    seed: int
    purpose: str

    @property
    def count(self) -> int:
        """Number of blocks."""
        return 1 if self.batch is None else -(-self.examples // self.batch)

    def rows(self, block: int) -> slice:
        """The examples of a block."""
        return slice(block * self.examples // self.count, (block + 1) * self.examples // self.count)

    def share(self, block: int) -> float:
        """count |block| / n: the factor that makes the mean over blocks the mean over examples, exactly."""
        rows = self.rows(block)
        size: int = rows.stop - rows.start
        return self.count * size / self.examples

    def at(self, k: int, role: int = 0) -> int:
        """The block that a role takes at hyperiteration k: without replacement from k to k + 1, by a fresh order after
        every pass; roles are independent of each other, as products of stochastic matrices need it."""
        if self.count == 1:
            return 0
        return self._order(role, k // self.count)[k % self.count]

    @cached_property
    def _order(self) -> Callable[[int, int], Sequence[int]]:
        """(role, pass) -> its blocks in order. To draw it takes longer than a step on a block of a small model."""

        @lru_cache(maxsize=KEPT)
        def order(role: int, passed: int) -> Sequence[int]:
            generator = stream(self.seed, self.purpose, role, passed)
            return array("i", torch.randperm(self.count, generator=generator).tolist())

        return order


class OuterGradients(NamedTuple):
    """Of E, or of one block of it."""

    value: Tensor
    w: Tree
    lam: Tree


class Products(NamedTuple):
    """Of L, or of one block of it."""

    gradient: Tree
    """grad_w L."""
    hessian: Tree
    """(grad_ww L) v."""
    cross: Tree
    """(grad_lam,w L) v, a tree like lam."""


@dataclass(frozen=True)
class Oracles:
    """What an algorithm may ask; a block of None means all examples. The mean over blocks is the answer for None."""

    problem: FiniteSum
    inner_blocks: Blocks
    outer_blocks: Blocks

    def inner(self, block: int | None) -> Objective:
        """A block of L, as a function of (w, lam)."""
        return _part(self.problem.inner, self.inner_blocks, block)

    def outer(self, block: int | None) -> Objective:
        """A block of E, as a function of (w, lam)."""
        return _part(self.problem.outer, self.outer_blocks, block)

    def inner_gradient(self, block: int | None, w: Tree, lam: Tree) -> Tree:
        """grad_w L."""
        found: Tree = gradient(self.inner(block))(w, lam)
        return found

    def inner_gradients(self, block: int | None, w: Tree, lam: Tree) -> tuple[Tree, Tree]:
        """grad_w L and grad_lam L."""
        found: tuple[Tree, Tree] = gradient(self.inner(block), (0, 1))(w, lam)
        return found

    def outer_gradient(self, block: int | None, w: Tree, lam: Tree) -> Tree:
        """grad_w E."""
        found: Tree = gradient(self.outer(block))(w, lam)
        return found

    def outer_gradients(self, block: int | None, w: Tree, lam: Tree) -> OuterGradients:
        """E, grad_w E and grad_lam E."""
        (by_w, by_lam), value = gradient_and_value(self.outer(block), (0, 1))(w, lam)
        return OuterGradients(value, by_w, by_lam)

    def products(self, block: int | None, w: Tree, lam: Tree, v: Tree) -> Products:
        """grad_w L and both products with its derivative, by one pull of v."""
        slope, pull = vjp(gradient(self.inner(block)), w, lam)
        return Products(slope, *pull(v))

    def hessian_product(self, block: int | None, w: Tree, lam: Tree, v: Tree) -> Tree:
        """(grad_ww L) v."""
        inner = self.inner(block)
        found: Tree = vjp(lambda w: gradient(inner)(w, lam), w)[1](v)[0]
        return found


def oracles(problem: FiniteSum, *, batch: int | None, seed: int) -> Oracles:
    """Minibatches of at most `batch` examples of either objective; None: all of them, no randomness."""
    inner = Blocks(problem.inner_examples, batch, seed, "inner blocks")
    return Oracles(problem, inner, Blocks(problem.outer_examples, batch, seed, "outer blocks"))


def _part(objective: PartObjective, blocks: Blocks, block: int | None) -> Objective:
    if block is None or blocks.count == 1:
        return taking(lambda w, lam: (w, lam, ALL), objective)
    rows, share = blocks.rows(block), blocks.share(block)

    def value(w: Tree, lam: Tree) -> Tensor:
        return share * objective(w, lam, rows)

    if not isinstance(objective, WithGradient):
        return value
    return WithGradient(value, lambda w, lam: trees.scale(share, objective.slope(w, lam, rows)))
