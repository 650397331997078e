"""Measurements beside an algorithm that keeps its inner variables; they change nothing of it.

What it takes for the hypergradient at hyperiteration k is read off its outer step, D_k = (lam_k - lam_{k+1}) / gamma_k;
where lam is projected D_k is the gradient mapping, 0 at a constrained minimizer as the gradient is at a free one.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.diagnostics import Hyperiteration, Scheduled, cosine
from core.bilevel.hypergradients.inner import diagnose
from core.bilevel.problem import Algorithm, AlgorithmState, Dynamics, Hypergradient, Problem, State, Tree, beside

ProblemAt = Callable[[int], tuple[Problem, Dynamics]]
"""k -> the problem with all examples."""
Rate = Callable[[int], float]
"""k -> gamma_k."""


def measured_steps(algorithm: Algorithm, at: ProblemAt, rate: Rate, measurements: Sequence[Scheduled]) -> Algorithm:
    """The same algorithm with more series; measurements see all examples, D_k, and dynamics that rest at w_k."""
    inner = algorithm.inner
    assert inner is not None, "the algorithm finds its inner variables anew: measure its method"

    @torch.no_grad()
    def step(k: int, state: AlgorithmState) -> tuple[AlgorithmState, Mapping[str, Tensor]]:
        after, series = algorithm.step(k, state)
        due = [measurement for every, measurement in measurements if k % every == 0]
        if due:
            here = _seen(k, *at(k), state.lam, inner(state), _direction(state, after, rate(k)))
            series = {**series, **{name: value for each in due for name, value in each(here).items()}}
        return after, series

    return Algorithm(algorithm.init, step, inner)


def _seen(k: int, problem: Problem, dynamics: Dynamics, lam: Tree, w: Tree, direction: Tree) -> Hyperiteration:
    """The hyperiteration as one of T = 0 inner steps from w_k that gave D_k."""
    resting = Dynamics(lambda lam: State(w), dynamics.step)
    looked = diagnose(problem, lam, w, w)
    found = Hypergradient(direction, problem.outer(w, lam), State(w), looked)
    return Hyperiteration(k, problem, resting, lam, 0, lambda problem, dynamics, lam, *, steps: found, found)


def direction_of_steps(algorithm: Algorithm, rate: Rate, *, every: int) -> Algorithm:
    """direction_cosine: of D_k with D_{k-1}, which is carried along."""
    inner = algorithm.inner
    assert inner is not None, "the algorithm finds its inner variables anew: measure its method"

    def init(lam: Tree) -> AlgorithmState:
        return AlgorithmState(lam, (algorithm.init(lam).aux, trees.zeros_like(lam)))

    def step(k: int, state: AlgorithmState) -> tuple[AlgorithmState, Mapping[str, Tensor]]:
        own, before = beside(state)
        after, series = algorithm.step(k, own)
        direction = _direction(own, after, rate(k))
        if k > 0 and k % every == 0:
            series = {**series, "direction_cosine": cosine(direction, before)}
        return AlgorithmState(after.lam, (after.aux, direction)), series

    return Algorithm(init, step, lambda state: inner(beside(state)[0]))


def _direction(state: AlgorithmState, after: AlgorithmState, rate: float) -> Tree:
    found: Tree = trees.scale(1 / rate, trees.subtract(state.lam, after.lam))
    return found
