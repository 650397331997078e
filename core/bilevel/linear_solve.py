"""Linear systems A x = b where A is a function on trees: what implicit differentiation solves.

A solver is a function (operator, rhs, start) -> Solution with its knobs bound by functools.partial. It starts from
zeros or, warm, from the solution of a system that is nearly the same. A right-hand side of zeros gives zeros; what is
not finite gives NaN, so that a diverged inner problem stays visible.
The residual that a solver reports is b - A x of the x that it returns, and the product that it takes is counted.
Tasks stacked on a leading axis are one block-diagonal system.
"""

from __future__ import annotations  # a tree or None cannot be written as an expression

import functools
import math
from collections.abc import Callable
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, TypeAlias

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.problem import Tree

P = ParamSpec("P")
Operator = Callable[[Tree], Tree]
"""x -> A x."""
Start: TypeAlias = "Tree | None"
"""A first guess of x; None: zeros."""


class Solution(NamedTuple):
    """What a solver found."""

    x: Tree
    """The solution, a tree like the right-hand side."""
    residual: Tensor
    """||b - A x|| / ||b||, a scalar; 0 where b is 0."""
    iterations: int
    """Products with A (or A', or a sample of A) that were made."""


class Solver(Protocol):
    """Solves A x = b; knobs are keyword-only."""

    def __call__(self, operator: Operator, rhs: Tree, start: Start = None, /) -> Solution:
        """Returns x with A x close to `rhs`, and how close; `start` is a first guess of x, by default zeros."""
        ...


class _Normalized(Protocol[P]):
    """A solver, and its knobs."""

    def __call__(
        self, operator: Operator, rhs: Tree, start: Start = None, /, *args: P.args, **knobs: P.kwargs
    ) -> Solution: ...


def _normalized(solve: Callable[Concatenate[Operator, Tree, Start, P], Solution]) -> _Normalized[P]:
    """Lets a solver see ||b|| = 1 only: no underflow of squares, and residuals are relative as they are.

    It sees neither b = 0 nor a b that is not finite. Where it ends with a residual that is not finite (A is not, or
    the iteration has diverged), x is NaN.
    """

    @functools.wraps(solve)
    def solve_any(operator: Operator, rhs: Tree, start: Start = None, /, *args: P.args, **knobs: P.kwargs) -> Solution:
        size = trees.norm(rhs)
        if size == 0:
            return Solution(trees.zeros_like(rhs), size, 0)
        if not math.isfinite(size):
            return Solution(trees.scale(math.nan, rhs), size, 0)
        first = None if start is None else _divided(start, size)
        x, residual, products = solve(operator, _divided(rhs, size), first, *args, **knobs)
        return Solution(trees.scale(size if math.isfinite(residual) else math.nan, x), residual, products)

    return solve_any


def _divided(tree: Tree, size: Tensor) -> Any:
    return trees.map_leaves(lambda leaf: leaf / size, tree)


def _begin(operator: Operator, b: Tree, start: Start) -> tuple[Any, Any, int]:
    """x_0, b - A x_0, and the products that this took."""
    if start is None:
        return trees.zeros_like(b), b, 0
    return start, trees.subtract(b, operator(start)), 1


def damped(operator: Operator, damping: float) -> Operator:
    """x -> (A + damping I) x; Tikhonov's remedy for an A that is singular or nearly so."""
    return (lambda x: trees.axpy(damping, x, operator(x))) if damping else operator


def cg(
    operator: Operator,
    b: Tree,
    start: Start = None,
    /,
    *,
    iterations: int = 100,
    tolerance: float = 1e-6,
    preconditioner: Operator | None = None,
) -> Solution:
    """Conjugate gradient, for symmetric positive definite A; stops at the relative residual `tolerance`.

    `preconditioner` is r -> M^-1 r with a symmetric positive definite M close to A: the number of products depends on
    the condition of M^-1 A. It stops as well where a direction has no positive curvature (A is not positive definite
    there) and returns what it has; the residual tells.

    `iterations` bounds the products; that of the last residual comes on top. Where rounding has led the recurrence
    astray, conjugate gradient starts again from the true residual, as long as that at least halves it.
    """

    def once(r: Tree, enough: float, left: float) -> Solution:
        return cg_once(operator, r, iterations=left, tolerance=enough, preconditioner=preconditioner)

    return refined(operator, b, start, approximate=once, iterations=iterations, tolerance=tolerance)


@_normalized
def cg_once(
    operator: Operator,
    b: Tree,
    start: Start = None,
    *,
    iterations: float,
    tolerance: float,
    preconditioner: Operator | None = None,
) -> Solution:
    """What `cg` corrects with. Its residual is that of its recurrence, which rounding leaves behind the true one."""
    x, r, products = _begin(operator, b, start)
    p = r if preconditioner is None else preconditioner(r)
    rz = trees.dot(r, p)
    rr = rz if preconditioner is None else trees.dot(r, r)
    while products < iterations and rr > tolerance**2:
        image = operator(p)
        products += 1
        curvature = trees.dot(p, image)
        if curvature <= 0:
            break
        a = rz / curvature
        x, r = trees.axpy(a, p, x), trees.axpy(-a, image, r)
        z = r if preconditioner is None else preconditioner(r)
        rz, before = trees.dot(r, z), rz
        rr = rz if preconditioner is None else trees.dot(r, r)
        p = trees.axpy(rz / before, p, z)
    return Solution(x, rr.sqrt(), products)


def cg_normal(
    operator: Operator,
    b: Tree,
    start: Start = None,
    /,
    *,
    iterations: int = 100,
    tolerance: float = 1e-6,
) -> Solution:
    """Conjugate gradient on A A x = A b, for any symmetric A that is not singular; two products an iteration.

    The condition number is squared: where A is positive definite, `cg` needs far fewer products. `iterations`, residual
    and new starts are as for `cg`. Hestenes and Stiefel 1952, section 10.
    """

    def once(r: Tree, enough: float, left: float) -> Solution:
        return cg_normal_once(operator, r, iterations=left, tolerance=enough)

    return refined(operator, b, start, approximate=once, iterations=iterations, tolerance=tolerance)


@_normalized
def cg_normal_once(
    operator: Operator,
    b: Tree,
    start: Start = None,
    *,
    iterations: float,
    tolerance: float,
) -> Solution:
    """What `cg_normal` corrects with, with the residual of its recurrence; `iterations` bounds the products."""
    x, r, products = _begin(operator, b, start)
    s = p = operator(r)
    products += 1
    size, slope = trees.norm(r), trees.dot(s, s)
    while products < iterations - 1 and size > tolerance and slope != 0:
        image = operator(p)
        a = slope / trees.dot(image, image)
        x, r = trees.axpy(a, p, x), trees.axpy(-a, image, r)
        s = operator(r)
        products += 2
        size, slope, before = trees.norm(r), trees.dot(s, s), slope
        p = trees.axpy(slope / before, p, s)
    return Solution(x, size, products)


@_normalized
def neumann(operator: Operator, b: Tree, start: Start = None, *, iterations: int = 100) -> Solution:
    """x = sum over j < iterations of (I - A)^j b; converges where the spectral radius of I - A is below 1.

    With a start x_0 the series is that of the correction, x = x_0 + sum (I - A)^j (b - A x_0).
    """
    x, term, products = _begin(operator, b, start)
    for _ in range(iterations - 1):
        x, term = trees.add(x, term), trees.subtract(term, operator(term))
    x = trees.add(x, term)
    return Solution(x, trees.norm(trees.subtract(b, operator(x))), iterations + products)


@_normalized
def fixed_point(
    operator: Operator, b: Tree, start: Start = None, *, iterations: int = 100, tolerance: float = 1e-6
) -> Solution:
    """x <- x + (b - A x) from 0, until the change is below `tolerance` relative to b."""
    x, r, products = _begin(operator, b, start)
    while products < iterations and trees.norm(r) > tolerance:
        x = trees.add(x, r)
        r = trees.subtract(b, operator(x))
        products += 1
    return Solution(x, trees.norm(r), products)


@_normalized
def stochastic(
    operator: Operator,
    b: Tree,
    start: Start = None,
    *,
    sample: Callable[[int], Operator],
    iterations: int = 100,
    rate: float = 0.1,
) -> Solution:
    """x_{j+1} = x_j + rate (b - A_j x_j) with samples A_j of A; returns the mean of the last half of the iterates.

    `sample` is j -> A_j. As A_j is independent of x_j, the expectation of x_j is the same iteration with A itself: it
    tends to the solution where rate A has eigenvalues in (0, 2), and averaging takes the noise away. The residual,
    which takes one product with A, is that of the mean. As in stocBiO, AmIGO and stochastic AID.
    """
    x = trees.zeros_like(b) if start is None else start
    kept = iterations - iterations // 2
    total = trees.zeros_like(b)
    for j in range(iterations):
        x = trees.axpy(rate, trees.subtract(b, sample(j)(x)), x)
        if j >= iterations - kept:
            total = trees.add(total, x)
    mean = trees.scale(1 / kept, total)
    return Solution(mean, trees.norm(trees.subtract(b, operator(mean))), iterations + 1)


@_normalized
def refined(
    operator: Operator,
    b: Tree,
    start: Start = None,
    *,
    approximate: Callable[[Tree, float, float], Solution],
    iterations: float = math.inf,
    tolerance: float = 1e-6,
) -> Solution:
    """Iterative refinement (Wilkinson 1963): x <- x + approximate(b - A x), to a relative residual of `tolerance`.

    `approximate` is (r, the relative residual that would be enough, the products that are left) -> nearly A^-1 r, such
    as conjugate gradient in single precision; residuals are taken in the precision of b, so that the solution has it
    too. It stops where a round no longer halves the residual, or where `iterations` products are made. A round after
    the first that does not lower the residual, which is rounding then, is not taken.
    """
    x, r, products = _begin(operator, b, start)
    size, before = trees.norm(r), math.inf
    while tolerance < size < before / 2 and products < iterations:
        correction = approximate(r, tolerance / float(size), iterations - products)
        closer = trees.add(x, correction.x)
        rest = trees.subtract(b, operator(closer))
        products += correction.iterations + 1
        reached = trees.norm(rest)
        if before < math.inf and not reached < size:
            break
        x, r, size, before = closer, rest, reached, float(size)
    return Solution(x, size, products)


@_normalized
def dense(operator: Operator, b: Tree, start: Start = None) -> Solution:
    """Forms A column by column and factors it; a singular A gives NaN. There is nothing that a start would help."""
    vector, unravel = trees.ravel(b)
    rows = torch.func.vmap(lambda direction: trees.ravel(operator(direction))[0])(trees.basis(b))  # [size, size] = A'
    x, info = torch.linalg.solve_ex(rows.T, vector)
    x = torch.where(info == 0, x, math.nan)
    return Solution(unravel(x), torch.linalg.vector_norm(vector - rows.T @ x), vector.numel())
