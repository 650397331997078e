"""Means of random quadratics, the simulated problem of stochastic bilevel optimization (Dagréou et al. 2022, 2023).

L(w, lam) = 1/n sum_i 1/2 (p_i'w)^2 + 1/2 (q_i'lam)^2 + (r_i'lam)(s_i'w) + a_i'w + b_i'lam, and E of the same form with
draws of its own. With the means L = 1/2 w'H w + 1/2 lam'G lam + lam'C w + a'w + b'lam the inner solution is
w* = -H^-1 (C'lam + a), and h(lam) = E(w*(lam), lam) is a quadratic.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from core.bilevel.dynamics import full_batch
from core.bilevel.finite_sum import ALL, FiniteSum, Rows
from core.bilevel.problem import Problem, Tree
from core.bilevel.randomness import stream
from core.errors import SplitInvalid
from core.problems.inner import Inner, entry
from core.problems.instance import LOWEST_LOSS, Context, Evaluation, Instance, metric
from core.spec import problems as spec

TRIALS = 20
"""Draws until h is convex."""


class Sum(NamedTuple):
    """One objective: every row is one example."""

    p: Tensor
    """[n, d] of 1/2 (p'w)^2."""
    q: Tensor
    """[n, m] of 1/2 (q'lam)^2."""
    r: Tensor
    """[n, m], and"""
    s: Tensor
    """[n, d], of (r'lam)(s'w)."""
    a: Tensor
    """[n, d] of a'w."""
    b: Tensor
    """[n, m] of b'lam."""

    def value(self, w: Tree, lam: Tree, rows: Rows) -> Tensor:
        """The mean over some of the examples."""
        assert isinstance(w, Tensor)
        own = entry(lam, "lam")
        squares = 0.5 * ((self.p[rows] @ w) ** 2 + (self.q[rows] @ own) ** 2).mean()
        cross = ((self.r[rows] @ own) * (self.s[rows] @ w)).mean()
        return squares + cross + (self.a[rows] @ w + self.b[rows] @ own).mean()

    def mean(self) -> "Mean":
        """The mean over all examples."""
        n = len(self.p)
        return Mean(self.p.T @ self.p / n, self.q.T @ self.q / n, self.r.T @ self.s / n, self.a.mean(0), self.b.mean(0))


class Mean(NamedTuple):
    """1/2 w'H w + 1/2 lam'G lam + lam'C w + a'w + b'lam."""

    H: Tensor
    G: Tensor
    C: Tensor
    a: Tensor
    b: Tensor

    def value(self, w: Tree, lam: Tree) -> Tensor:
        """At (w, lam)."""
        assert isinstance(w, Tensor)
        own = entry(lam, "lam")
        return (
            torch.dot(w, 0.5 * (self.H @ w) + self.a)
            + torch.dot(own, 0.5 * (self.G @ own) + self.b)
            + torch.dot(own, self.C @ w)
        )


class Exact(NamedTuple):
    """h(lam) = 1/2 lam'A lam + c'lam + constant, in float64."""

    A: Tensor
    c: Tensor
    constant: Tensor

    def value(self, lam: Tensor) -> Tensor:
        """h(lam)."""
        return torch.dot(lam, 0.5 * (self.A @ lam) + self.c) + self.constant

    def gradient(self, lam: Tensor) -> Tensor:
        """grad h(lam)."""
        return self.A @ lam + self.c

    def lowest(self) -> Tensor:
        """min h; h is convex."""
        return self.value(-torch.linalg.solve(self.A, self.c))


def random_quadratics(problem: spec.RandomQuadratics, inner: Inner, context: Context) -> Instance:
    """Validation `loss` is E at the inner variables; test `loss` is h(lam), `suboptimality` h - min h,
    `squared_gradient` ||grad h(lam)||^2, `inner_distance` ||w - w*(lam)||^2."""
    parts, h = draw(problem, context.seed)
    inner_sum, outer_sum = (Sum(*context.place(part)) for part in parts)
    inner_mean, outer_mean = (Mean(*context.place(part.mean())) for part in parts)
    lowest = h.lowest()

    def init(lam: Tree) -> Tensor:
        return torch.zeros_like(inner_mean.a)

    def solution(lam: Tree) -> Tensor:
        found: Tensor = -torch.linalg.solve(inner_mean.H, inner_mean.C.T @ entry(lam, "lam") + inner_mean.a)
        return found

    stated = Problem(inner_mean.value, outer_mean.value, init, solution)
    dynamics = inner.dynamics(full_batch(inner_mean.value), init)

    def evaluate(lam: Tree, w: "Tree | None" = None) -> Evaluation:
        w = inner.solve(stated, dynamics, lam) if w is None else w
        assert isinstance(w, Tensor)
        own = entry(lam, "lam").double().cpu()
        exact = {
            "loss": h.value(own),
            "suboptimality": h.value(own) - lowest,
            "squared_gradient": h.gradient(own).square().sum(),
            "inner_distance": (w - solution(lam)).square().sum(),
        }
        return Evaluation({"loss": metric(outer_mean.value(w, lam))}, {name: metric(x) for name, x in exact.items()})

    start = torch.full((problem.outer_dimension,), problem.initial, dtype=torch.float64)
    return Instance(
        initial=context.place({"lam": start, **inner.initial()}),
        at=lambda k: (stated, dynamics),
        evaluate=evaluate,
        selection=LOWEST_LOSS,
        natural=lambda lam: _natural(lam, inner),
        finite_sum=FiniteSum(
            _all_at_once(inner_sum, inner_mean),
            _all_at_once(outer_sum, outer_mean),
            len(parts[0].p),
            len(parts[1].p),
            init,
        ),
        report=lambda lam: {"minimum": float(lowest)},
    )


def _natural(lam: Tree, inner: Inner) -> Mapping[str, Tensor]:
    return {"lam": entry(lam, "lam"), **inner.natural(lam)}


def _all_at_once(examples: Sum, mean: Mean) -> Any:
    """The objective of rows; of all of them by the mean's matrices."""

    def objective(w: Tree, lam: Tree, rows: Rows) -> Tensor:
        whole = isinstance(rows, slice) and rows == ALL
        return mean.value(w, lam) if whole else examples.value(w, lam, rows)

    return objective


def draw(problem: spec.RandomQuadratics, seed: int) -> tuple[tuple[Sum, Sum], Exact]:
    """Inner and outer sum in float64, drawn anew until h is strictly convex, and h.

    Raises:
        SplitInvalid: none of the draws gave a convex h.
    """
    for trial in range(TRIALS):
        generator = stream(seed, "random quadratics", trial)
        inner = _sum(problem, problem.inner_examples, generator)
        outer = _sum(problem, problem.outer_examples, generator)
        h = value_function(inner.mean(), outer.mean())
        if torch.linalg.eigvalsh(h.A)[0] >= 1e-12:
            return (inner, outer), h
    raise SplitInvalid(
        f"{TRIALS} draws gave no problem with a convex value function: lower /problem/coupling or raise "
        "/problem/outer_examples."
    )


def _sum(problem: spec.RandomQuadratics, n: int, generator: Generator) -> Sum:
    """p_i ~ N(0, H) with the eigenvalues of H from `convexity` to `smoothness`; q_i as p_i, with one eigenvalue 0 more;
    r_i = U D x_i and s_i = V x_i for one normal x_i, with the singular values D up to `coupling`."""
    d, m, low = problem.inner_dimension, problem.outer_dimension, problem.convexity

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    def basis(size: int) -> Tensor:
        found: Tensor = torch.linalg.qr(normal(size, size)).Q
        return found

    def spread(count: int, high: float) -> Tensor:
        return torch.logspace(math.log10(low), math.log10(high), count, dtype=torch.float64)

    roots = spread(d, problem.smoothness).sqrt()
    outer_roots = torch.cat([torch.zeros(1, dtype=torch.float64), spread(m - 1, problem.smoothness).sqrt()])
    u, v, x = basis(d), basis(m), normal(n, d)
    count = min(d, m)
    left, right = basis(m)[:, :count] * spread(count, problem.coupling), basis(d)
    return Sum(
        normal(n, d) @ (u * roots) @ u.T,
        normal(n, m) @ (v * outer_roots) @ v.T,
        x[:, :count] @ left.T,
        x @ right.T,
        normal(n, d),
        normal(n, m),
    )


def value_function(inner: Mean, outer: Mean) -> Exact:
    """h(lam) = E(w*(lam), lam) with w* = J lam + w0, J = -H^-1 C', w0 = -H^-1 a."""
    J, w0 = -torch.linalg.solve(inner.H, inner.C.T), -torch.linalg.solve(inner.H, inner.a)
    cross = outer.C @ J
    A = J.T @ outer.H @ J + outer.G + cross + cross.T
    c = J.T @ (outer.H @ w0 + outer.a) + outer.C @ w0 + outer.b
    return Exact(A, c, torch.dot(w0, 0.5 * (outer.H @ w0) + outer.a))
