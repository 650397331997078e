"""Reverse mode, Algorithm 1 of the paper: keeps iterates, not graphs, and recomputes each step on the way back.

alpha_T = grad_w E, p = grad_lam E; for t = T..1: p += alpha_t B_t, alpha_{t-1} = alpha_t A_t, with
A_t, B_t the derivatives of Phi_t with respect to s_{t-1} and lam; at last p += alpha_0 dPhi_0/dlam.
"""

from functools import partial

import torch

from core.bilevel import trees
from core.bilevel.derivatives import vjp, vjp_once
from core.bilevel.hypergradients.inner import check, diagnose
from core.bilevel.iterates import Iterates
from core.bilevel.problem import Dynamics, Hypergradient, Problem, State, Tree
from core.bilevel.schedule import Segment, schedule


@torch.no_grad()
def reverse(
    problem: Problem,
    dynamics: Dynamics,
    lam: Tree,
    *,
    steps: int,
    segment: Segment | None = None,
    truncate: int | None = None,
    snapshots: int | None = None,
) -> Hypergradient:
    """The hypergradient by vector-Jacobian products of single steps.

    With `segment` = m only every m-th iterate is kept and those between are computed again: memory T/m + m states for
    one more run of the dynamics; "auto" takes m about sqrt(T). With `snapshots` = S at most S iterates are kept, for
    the fewest further steps possible (`schedule.recomputed_steps`). With `truncate` = K it goes back through the last K
    steps only (Shaban et al. 2019) and keeps as many iterates; with K >= T nothing is cut.

    Raises:
        ValueError: as `schedule.schedule`.
    """
    check(problem, steps)
    lam = trees.detach(lam)
    start = state = dynamics.init(lam)
    kept = Iterates()
    reached = steps  # the way back has reached s_reached
    for action, t in schedule(steps, segment=segment, truncate=truncate, snapshots=snapshots):
        match action:
            case "keep":
                kept.push(state)
            case "load":
                state = kept.last()
            case "drop":
                kept.pop()
            case "advance":
                state = dynamics.step(t, state, lam)
            case "turn":
                end = dynamics.step(t, state, lam) if t else state
                outer_loss, alpha, grad = begin_back(problem, end, lam)
            case "back":
                alpha, grad = back(dynamics, t, state, lam, alpha, grad)
                reached = t - 1
    if reached == 0:
        grad = trees.add(grad, vjp(dynamics.init, lam)[1](alpha)[0])
    return Hypergradient(grad, outer_loss, end, diagnose(problem, lam, start.w, end.w))


def begin_back(problem: Problem, end: State, lam: Tree) -> tuple[torch.Tensor, State, Tree]:
    """E(w_T, lam), alpha_T and the direct term."""
    outer_loss, pull = vjp(problem.outer, end.w, lam)
    alpha_w, direct = pull(torch.ones_like(outer_loss))
    return outer_loss, State(alpha_w, trees.zeros_like(end.aux)), direct


def back(dynamics: Dynamics, t: int, s: State, lam: Tree, alpha: State, grad: Tree) -> tuple[State, Tree]:
    """(alpha A_t, grad + alpha B_t), with the derivatives taken at (s_{t-1}, lam)."""
    _, pull = vjp_once(partial(dynamics.step, t), s, lam)
    alpha, contribution = pull(alpha)
    return alpha, trees.add(grad, contribution)
