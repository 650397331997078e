"""Measurements beside the hypergradient: they change nothing of it, nor of the outer variables.

A measurement is a function of one hyperiteration; `measured` lets it join the diagnostics of a method at every n-th
hyperiteration, where it costs what its docstring says.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.chunks import chunks
from core.bilevel.derivatives import gradient, vjp
from core.bilevel.hypergradients.inner import run
from core.bilevel.problem import Dynamics, Hypergradient, Method, MethodSeries, Problem, State, Tree
from core.bilevel.randomness import stream


class Hyperiteration(NamedTuple):
    """What a measurement sees."""

    k: int
    problem: Problem
    dynamics: Dynamics
    lam: Tree
    steps: int
    method: Method
    found: Hypergradient
    """What `method` gave at lam."""

    def chunks(self, lam: Tree) -> Iterator[tuple[float, Problem, Dynamics, Tree]]:
        """For each chunk of tasks, or all in one: its share, problem, dynamics and what these take for lam."""
        for share, (problem, dynamics) in chunks(self.problem, self.dynamics):
            yield share, problem, dynamics, lam if problem.embed is None else problem.embed(lam)

    def inputs(self) -> Tree:
        """What objectives and dynamics of all tasks together take for lam, which is embedded chunk by chunk."""
        found = [z for _, _, _, z in self.chunks(self.lam)]

        def joined(*leaves: Tensor) -> Tensor:  # what an embedding hands on of lam is the same in all of them
            return leaves[0] if all(leaf is leaves[0] for leaf in leaves) else torch.cat(leaves)

        together: Tree = trees.map_leaves(joined, *found)
        return together

    def again(self, method: Method, lam: Tree, steps: int) -> Tree:
        """Another hypergradient of the same problem."""
        return method(self.problem, self.dynamics, lam, steps=steps).grad


Measurement = Callable[[Hyperiteration], Mapping[str, Tensor]]
"""Scalars by the names of their series."""
Scheduled = tuple[int, Measurement]
"""Every how many hyperiterations, beginning with 0; and what."""


def measured(methods: MethodSeries, measurements: Sequence[Scheduled]) -> MethodSeries:
    """The same methods, with more diagnostics."""

    def at(k: int, carry: Tree) -> Method:
        method = methods.at(k, carry)
        due = [measurement for every, measurement in measurements if k % every == 0]

        @torch.no_grad()
        def with_more(problem: Problem, dynamics: Dynamics, lam: Tree, *, steps: int) -> Hypergradient:
            found = method(problem, dynamics, lam, steps=steps)
            here = Hyperiteration(k, problem, dynamics, trees.detach(lam), steps, method, found)
            diagnostics = dict(found.diagnostics)
            for measurement in due:
                diagnostics |= measurement(here)
            return found._replace(diagnostics=diagnostics)

        return with_more if due else method

    return MethodSeries(methods.init, at)


def direction_change(methods: MethodSeries, *, every: int) -> MethodSeries:
    """direction_cosine: of the hypergradient with the one before it, which is carried along."""

    def init(problem: Problem, dynamics: Dynamics, lam: Tree) -> Tree:
        return methods.init(problem, dynamics, lam), trees.zeros_like(lam)

    def at(k: int, carry: Tree) -> Method:
        assert isinstance(carry, tuple)
        own, before = carry
        method = methods.at(k, own)

        def remembering(problem: Problem, dynamics: Dynamics, lam: Tree, *, steps: int) -> Hypergradient:
            found = method(problem, dynamics, lam, steps=steps)
            diagnostics = dict(found.diagnostics)
            if k > 0 and k % every == 0:
                diagnostics["direction_cosine"] = cosine(found.grad, before)
            return found._replace(diagnostics=diagnostics, carry=(found.carry, found.grad))

        return remembering

    return MethodSeries(init, at)


def stationarity(here: Hyperiteration) -> Mapping[str, Tensor]:
    """inner_gradient_relative: ||grad_w L|| at w_T over that at w_0; costs an embedding and an inner gradient."""
    firsts = [
        trees.norm(gradient(problem.inner)(dynamics.init(z).w, z)) for _, problem, dynamics, z in here.chunks(here.lam)
    ]
    first = torch.linalg.vector_norm(torch.stack(firsts))
    return {"inner_gradient_relative": ratio(here.found.diagnostics["inner_gradient_norm"], first)}


def truncation(*, double: bool) -> Measurement:
    """truncation_error: ||g_T - g_2T|| / ||g_2T||, or ||g_T/2 - g_T|| / ||g_T||; costs 2 or 1/2 hypergradients.

    With inner dynamics that converge like q^T the first is the error of g_T up to terms in q^2T, and the second
    the error of g_T/2, which is larger than that of g_T.
    """

    def measure(here: Hyperiteration) -> Mapping[str, Tensor]:
        other = here.again(here.method, here.lam, here.steps * 2 if double else here.steps // 2)
        own = here.found.grad
        return {"truncation_error": relative_difference(own, other) if double else relative_difference(other, own)}

    return measure


def comparison(reference: MethodSeries) -> Measurement:
    """comparison_cosine and comparison_error, of g with the hypergradient g' of another method: ||g - g'|| / ||g'||.

    The other method starts from nothing that it carried: a warm start of its own would have to be kept.
    """

    def measure(here: Hyperiteration) -> Mapping[str, Tensor]:
        carry = reference.init(here.problem, here.dynamics, here.lam)
        other = here.again(reference.at(here.k, carry), here.lam, here.steps)
        return _compared(here.found.grad, other)

    return measure


def central_differences(*, seed: int, directions: int, solved: bool = False) -> Measurement:
    """comparison_cosine and comparison_error, of the slopes <g, u_i> with (f(lam + h u_i) - f(lam - h u_i)) / 2h.

    u_i are `directions` normal vectors, f(lam) = E(w_T(lam), lam), or E(w*(lam), lam) where `solved`;
    h ||u_i|| = e^(1/3) (1 + ||lam||) with e the precision of the format. Costs 2 T steps and 2 embeddings a direction.
    """

    def measure(here: Hyperiteration) -> Mapping[str, Tensor]:
        slopes, differences = [], []
        for i in range(directions):
            u = _normal(here.lam, seed, "differences", here.k, i)
            h = (1 + trees.norm(here.lam)) / trees.norm(u)
            h = h * torch.finfo(h.dtype).eps ** (1 / 3)
            ahead, behind = (_value(here, trees.axpy(side * h, u, here.lam), solved) for side in (1, -1))
            slopes.append(trees.dot(here.found.grad, u))
            differences.append((ahead - behind) / (2 * h))
        return _compared(torch.stack(slopes), torch.stack(differences))

    return measure


def _value(here: Hyperiteration, lam: Tree, solved: bool) -> Tensor:
    values = []
    for share, problem, dynamics, z in here.chunks(lam):
        if solved and problem.solution is None:
            raise ValueError("the problem has no closed form: compare with f_T instead")
        w = problem.solution(z) if solved and problem.solution else run(dynamics, z, here.steps)[1].w
        values.append(share * problem.outer(w, z))
    return torch.stack(values).sum()


def contraction(*, seed: int, products: int) -> Measurement:
    """contraction_factor: an estimate of the spectral radius of J = d Phi_T / d s at s_T, the last step's Jacobian.

    Arnoldi's method: the largest Ritz value of J' (vector-Jacobian products) on the Krylov space of a normal vector.
    Costs an embedding, `products` products, and as many states while it measures, of all tasks together. J is by the
    whole state, velocity and moments included. For gradient descent it is I - eta H, symmetric: its radius is its
    norm, and the estimate a lower bound. For other dynamics the norm may be above 1 where the radius, which says
    whether the steps converge, is below, and the estimate may be too large. contraction_error: ||J' x - theta x|| of
    the Ritz pair, x of norm 1, times the condition of theta (1 where J is symmetric); it falls to 0 with more products.
    """

    def measure(here: Hyperiteration) -> Mapping[str, Tensor]:
        z = here.inputs()
        end = _last_state(here, z)
        _, pull = vjp(lambda s: here.dynamics.step(here.steps, s, z), end)
        start, unravel = trees.ravel(_normal(end, seed, "contraction", here.k))
        factor, error = _radius(lambda v: trees.ravel(pull(unravel(v))[0])[0], start, products)
        return {"contraction_factor": factor, "contraction_error": error}

    return measure


def _radius(operator: Callable[[Tensor], Tensor], start: Tensor, products: int) -> tuple[Tensor, Tensor]:
    """The largest modulus of an eigenvalue of `operator` restricted to the Krylov space of `start` [n] (Arnoldi 1951).

    And its error to first order: the residual of the pair times the condition of the eigenvalue. Q [m, n] has
    orthonormal rows; H = Q J Q' [m, m]. Where the space ends early, further rows are 0.
    """
    size = min(products, start.numel())
    q = start.new_zeros(size + 1, start.numel())
    h = start.new_zeros(size + 1, size)
    q[0] = start / torch.linalg.vector_norm(start)
    for j in range(size):
        v = operator(q[j])
        scale = torch.linalg.vector_norm(v)
        for _ in range(2):  # once more, for what rounding left
            overlap = q[: j + 1] @ v
            h[: j + 1, j] += overlap
            v = v - overlap @ q[: j + 1]
        rest = torch.linalg.vector_norm(v)
        rest = torch.where(rest > 10 * torch.finfo(v.dtype).eps * scale, rest, 0)
        h[j + 1, j] = rest
        q[j + 1] = torch.where(rest > 0, v / rest, 0)
    small = h[:size]
    if not bool(small.isfinite().all()):  # LAPACK would find no eigenvalues
        return small.new_tensor(math.nan), small.new_tensor(math.nan)
    values, vectors = torch.linalg.eig(small)
    largest = values.abs().argmax()
    residual = h[size, size - 1] * vectors[size - 1, largest].abs()
    inverse, singular = torch.linalg.inv_ex(vectors)  # its rows are the left vectors
    condition = torch.where(singular == 0, torch.linalg.vector_norm(inverse[largest]), math.inf)
    return values[largest].abs(), torch.where(residual == 0, 0.0, residual * condition)


def _last_state(here: Hyperiteration, z: Tree) -> State:
    """s_T; found by T steps where the method handed over w_T alone."""
    state = here.found.state
    if trees.flatten(state)[1] == trees.flatten(here.dynamics.init(z))[1]:
        return state
    return run(here.dynamics, z, here.steps)[1]


def _normal(like: Tree, seed: int, *index: int | str) -> Tree:
    generator = stream(seed, "diagnostics", *index)
    drawn: Tree = trees.map_leaves(
        lambda leaf: torch.randn(leaf.shape, dtype=leaf.dtype, generator=generator).to(leaf.device), like
    )
    return drawn


def _compared(own: Tree, other: Tree) -> Mapping[str, Tensor]:
    return {"comparison_cosine": cosine(own, other), "comparison_error": relative_difference(own, other)}


def cosine(x: Tree, y: Tree) -> Tensor:
    """<x, y> / (||x|| ||y||); 0 where one of them is 0."""
    a, b = trees.norm(x), trees.norm(y)
    return ratio(ratio(trees.dot(x, y), a), b)


def relative_difference(x: Tree, y: Tree) -> Tensor:
    """||x - y|| / ||y||; 0 where they are equal."""
    return ratio(trees.norm(trees.subtract(x, y)), trees.norm(y))


def ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b; 0 for 0 / 0."""
    return torch.where((a == 0) & (b == 0), torch.zeros_like(a), a / b)
