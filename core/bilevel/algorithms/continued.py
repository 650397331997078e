"""Unrolls that go on: several hyperiterations share one inner run, each differentiates its own T steps (truncated).

With U = unrolls, hyperiteration k starts from s_0 where k is a multiple of U, and else from the state that the one
before it ended at, at step (k mod U) T, as if that state did not depend on lam.
"""

import torch

from core.bilevel.algorithms.real_time import going_on
from core.bilevel.embedding import composed
from core.bilevel.problem import Dynamics, Hypergradient, Method, MethodSeries, Problem, State, Tree


def continued(methods: MethodSeries, *, unrolls: int) -> MethodSeries:
    """The same methods on dynamics that go on; the state is carried from one hyperiteration to the next.

    The problem has to be the same for all hyperiterations of an inner run.
    """
    if unrolls == 1:
        return methods

    @torch.no_grad()
    def init(problem: Problem, dynamics: Dynamics, lam: Tree) -> Tree:
        return methods.init(problem, dynamics, lam), composed(problem, dynamics)[1].init(lam)

    def at(k: int, carry: Tree) -> Method:
        own, reached = _parts(carry)
        method, before = methods.at(k, own), k % unrolls

        def from_there(problem: Problem, dynamics: Dynamics, lam: Tree, *, steps: int) -> Hypergradient:
            rest = going_on(dynamics, reached, before * steps) if before else dynamics
            found = method(problem, rest, lam, steps=steps)
            return found._replace(carry=(found.carry, found.state))

        return from_there

    return MethodSeries(init, at)


def _parts(carry: Tree) -> tuple[Tree, State]:
    """What the method carries itself, and the inner state."""
    assert isinstance(carry, tuple)
    own, reached = carry
    assert isinstance(reached, State)
    return own, reached
