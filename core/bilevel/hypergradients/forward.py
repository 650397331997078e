"""Forward mode: Z_0 = dPhi_0/dlam, Z_t = A_t Z_{t-1} + B_t, d E = grad_w E Z_T + grad_lam E.

One tangent for each entry of lam, pushed through the steps in groups; memory does not depend on the number of steps.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.derivatives import jvps, jvps_forward
from core.bilevel.hypergradients.inner import check_steps, diagnose
from core.bilevel.problem import Dynamics, Hypergradient, Problem, State, Tree


class Pushed(NamedTuple):
    """What one run of the dynamics with tangents gives."""

    slopes: Tensor
    """Derivatives of E along the directions [directions]."""
    outer_loss: Tensor
    end: State
    diagnose: Callable[[], Mapping[str, Tensor]]
    """As all methods."""


class Push(Protocol):
    """How tangents go through the dynamics."""

    def __call__(self, problem: Problem, dynamics: Dynamics, lam: Tree, directions: Tree, *, steps: int) -> Pushed:
        """Runs them with one tangent for each direction; every leaf of the directions has a leading axis for them."""
        ...


def push(problem: Problem, dynamics: Dynamics, lam: Tree, directions: Tree, *, steps: int) -> Pushed:
    """By Jacobian-vector products of single steps. An embedding runs once, and its tangents with it."""
    z, along = (lam, directions) if problem.embed is None else jvps_forward(problem.embed, (lam,), (directions,))
    start, tangents = jvps(dynamics.init, (z,), (along,))
    state = start
    for t in range(1, steps + 1):
        state, tangents = jvps(partial(dynamics.step, t), (state, z), (tangents, along))
    outer_loss, slopes = jvps(problem.outer, (state.w, z), (tangents.w, along))
    return Pushed(slopes, outer_loss, state, lambda: diagnose(problem, z, start.w, state.w))


@torch.no_grad()
def forward(
    problem: Problem, dynamics: Dynamics, lam: Tree, *, steps: int, chunk: int | None = None, push: Push = push
) -> Hypergradient:
    """The hypergradient by one tangent for each outer variable; for few of them.

    With `chunk` = c at most c tangents are pushed together: memory c states for ceil(size of lam / c) runs of the
    dynamics. `push` is how they go through the steps. Takes a problem with an embedding as it is: the tangents of lam
    become tangents of z first.
    """
    check_steps(steps)
    lam = trees.detach(lam)
    slopes = []
    for first, count in groups(trees.size(lam), chunk):
        pushed = push(problem, dynamics, lam, trees.basis(lam, first, count), steps=steps)
        slopes.append(pushed.slopes)
    grad = trees.ravel(lam)[1](torch.cat(slopes))
    return Hypergradient(grad, pushed.outer_loss, pushed.end, dict(pushed.diagnose()))


def groups(size: int, chunk: int | None) -> list[tuple[int, int]]:
    """(first, count) of each group of at most `chunk` of the directions 0 .. size - 1; None: one group.

    Raises:
        ValueError: chunk is below 1.
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk is {chunk}: it has to be at least 1")
    length = chunk or size
    return [(first, min(length, size - first)) for first in range(0, size, length)]
