"""Linear systems A x = b where A is a function on trees: what implicit differentiation solves.

A solver is a function (operator, rhs) -> Solution with its knobs bound by functools.partial. A right-hand side of zeros
gives zeros; what is not finite gives NaN, so that a diverged inner problem stays visible.
Tasks stacked on a leading axis are one block-diagonal system.
"""

import functools
import math
from collections.abc import Callable
from typing import Concatenate, NamedTuple, ParamSpec, Protocol

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.problem import Tree

P = ParamSpec("P")
Operator = Callable[[Tree], Tree]
"""x -> A x."""


class Solution(NamedTuple):
    """What a solver found."""

    x: Tree
    """The solution, a tree like the right-hand side."""
    residual: Tensor
    """||b - A x|| / ||b||, a scalar; 0 where b is 0."""
    iterations: int
    """Products with A that were made."""


class Solver(Protocol):
    """Solves A x = b; knobs are keyword-only."""

    def __call__(self, operator: Operator, rhs: Tree, /) -> Solution:
        """Returns x with A x close to `rhs`, and how close."""
        ...


def _normalized(
    solve: Callable[Concatenate[Operator, Tree, P], Solution],
) -> Callable[Concatenate[Operator, Tree, P], Solution]:
    """Lets a solver see ||b|| = 1 only: no underflow of squares, and residuals are relative as they are.

    It sees neither b = 0 nor a b that is not finite. Where it ends with a residual that is not finite (A is not, or
    the iteration has diverged), x is NaN.
    """

    @functools.wraps(solve)
    def solve_any(operator: Operator, rhs: Tree, /, *args: P.args, **knobs: P.kwargs) -> Solution:
        size = trees.norm(rhs)
        if size == 0:
            return Solution(trees.zeros_like(rhs), size, 0)
        if not math.isfinite(size):
            return Solution(trees.scale(math.nan, rhs), size, 0)
        x, residual, products = solve(operator, trees.map_leaves(lambda leaf: leaf / size, rhs), *args, **knobs)
        return Solution(trees.scale(size if math.isfinite(residual) else math.nan, x), residual, products)

    return solve_any


@_normalized
def cg(operator: Operator, b: Tree, *, iterations: int = 100, tolerance: float = 1e-6) -> Solution:
    """Conjugate gradient, for symmetric positive definite A; stops at the relative residual `tolerance`.

    It stops as well where a direction has no positive curvature (A is not positive definite there) and returns
    what it has; the residual tells.
    """
    x, r, p = trees.zeros_like(b), b, b
    rr = trees.dot(r, r)
    products = 0
    while products < iterations and rr > tolerance**2:
        image = operator(p)
        products += 1
        curvature = trees.dot(p, image)
        if curvature <= 0:
            break
        a = rr / curvature
        x, r = trees.axpy(a, p, x), trees.axpy(-a, image, r)
        rr, before = trees.dot(r, r), rr
        p = trees.axpy(rr / before, p, r)
    return Solution(x, rr.sqrt(), products)


@_normalized
def neumann(operator: Operator, b: Tree, *, iterations: int = 100) -> Solution:
    """x = sum over j < iterations of (I - A)^j b; converges where the spectral radius of I - A is below 1."""
    x, term = trees.zeros_like(b), b
    for _ in range(iterations):
        x, term = trees.add(x, term), trees.subtract(term, operator(term))
    return Solution(x, trees.norm(term), iterations)  # b - A x is the first term left out


@_normalized
def fixed_point(operator: Operator, b: Tree, *, iterations: int = 100, tolerance: float = 1e-6) -> Solution:
    """x <- x + (b - A x) from 0, until the change is below `tolerance` relative to b."""
    x, r = trees.zeros_like(b), b
    products = 0
    while products < iterations and trees.norm(r) > tolerance:
        x = trees.add(x, r)
        r = trees.subtract(b, operator(x))
        products += 1
    return Solution(x, trees.norm(r), products)


@_normalized
def dense(operator: Operator, b: Tree) -> Solution:
    """Forms A column by column and factors it; a singular A gives NaN."""
    vector, unravel = trees.ravel(b)
    rows = torch.func.vmap(lambda direction: trees.ravel(operator(direction))[0])(trees.basis(b))  # [size, size] = A'
    x, info = torch.linalg.solve_ex(rows.T, vector)
    x = torch.where(info == 0, x, math.nan)
    return Solution(unravel(x), torch.linalg.vector_norm(vector - rows.T @ x), vector.numel())
