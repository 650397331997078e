"""Hyperparameters in real time: outer steps every few inner steps, without starting anew (Franceschi et al. 2017).

Hyperiteration k goes on from the state and at the step at which the last one ended: with D = interval and t = kD + i,
s_t = Phi_t(s_{t-1}, lam_k), i = 1..D, then lam_{k+1} = project(optimizer(lam_k, g_k)), where g_k is
- forward: grad_w E Z_t + grad_lam E with Z_t = A_t Z_{t-1} + B_t, Z never reset, although earlier terms of it are
  derivatives at earlier lam;
- reverse: the hypergradient of the last D steps, or fewer, as if s_{kD} did not depend on lam.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.algorithms.nested import series_of
from core.bilevel.derivatives import jvps
from core.bilevel.embedding import composed
from core.bilevel.hypergradients.inner import check_steps, diagnose
from core.bilevel.optimizers import OuterOptimizer
from core.bilevel.problem import (
    Algorithm,
    AlgorithmState,
    Dynamics,
    Hypergradient,
    MethodSeries,
    Problem,
    State,
    Tree,
)


def real_time(
    problem_at: Callable[[int], tuple[Problem, Dynamics]],
    methods: MethodSeries,
    optimizer: OuterOptimizer,
    project: Callable[[Tree], Tree],
    *,
    interval: int,
) -> Algorithm:
    """One inner run with an outer step after each `interval` inner steps; `methods` is `carried_forward` or reverse.

    problem_at(k) has to be the same problem for every k, or one that the same inner variables fit. The series of step k
    are as those of `nested`, at lam_k and the inner variables at the end of its interval.
    """

    @torch.no_grad()
    def init(lam: Tree) -> AlgorithmState:
        problem, dynamics = composed(*problem_at(0))
        return AlgorithmState(lam, (optimizer.init(lam), dynamics.init(lam), methods.init(problem, dynamics, lam)))

    def step(k: int, state: AlgorithmState) -> tuple[AlgorithmState, Mapping[str, Tensor]]:
        problem, dynamics = problem_at(k)
        moments, reached, carry = state.aux
        rest = dynamics if k == 0 else going_on(dynamics, reached, k * interval)
        found = methods.at(k, carry)(problem, rest, state.lam, steps=interval)
        lam, moments = optimizer.step(k, found.grad, moments, state.lam)
        return AlgorithmState(project(lam), (moments, found.state, found.carry)), series_of(found)

    return Algorithm(init, step, inner=lambda state: cast(State, state.aux[1]).w)


def going_on(dynamics: Dynamics, state: State, t: int) -> Dynamics:
    """The dynamics from s_t on: its step 1 is step t + 1, and its start does not depend on lam."""
    return Dynamics(lambda lam: state, lambda i, s, lam: dynamics.step(t + i, s, lam))


@torch.no_grad()
def _start(problem: Problem, dynamics: Dynamics, lam: Tree) -> Tree:
    """Z_0 = dPhi_0/dlam, a state with a leading axis for the entries of lam."""
    tangents: Tree = jvps(dynamics.init, (lam,), (trees.basis(lam),))[1]
    return tangents


@torch.no_grad()
def _forward(problem: Problem, dynamics: Dynamics, lam: Tree, *, steps: int, tangents: Tree) -> Hypergradient:
    """Forward mode from a Z that is given; the last Z is what it carries."""
    check_steps(steps)
    problem, dynamics = composed(problem, dynamics)
    lam = trees.detach(lam)
    directions = trees.basis(lam)
    start = state = dynamics.init(lam)
    for t in range(1, steps + 1):
        state, tangents = jvps(partial(dynamics.step, t), (state, lam), (tangents, directions))
    outer_loss, slopes = jvps(problem.outer, (state.w, lam), (State(*tangents).w, directions))
    grad = trees.ravel(lam)[1](slopes)
    return Hypergradient(grad, outer_loss, state, diagnose(problem, lam, start.w, state.w), carry=tangents)


carried_forward = MethodSeries(_start, lambda k, carry: partial(_forward, tangents=carry))
"""Forward mode whose Z goes from one hyperiteration to the next."""
