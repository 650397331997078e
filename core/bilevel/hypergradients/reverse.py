"""Reverse mode, Algorithm 1 of the paper: keeps iterates, not graphs, and recomputes each step on the way back.

alpha_T = grad_w E, p = grad_lam E; for t = T..1: p += alpha_t B_t, alpha_{t-1} = alpha_t A_t, with
A_t, B_t the derivatives of Phi_t with respect to s_{t-1} and lam; at last p += alpha_0 dPhi_0/dlam.
"""

from functools import partial

import torch

from core.bilevel import trees
from core.bilevel.derivatives import vjp
from core.bilevel.hypergradients.inner import check, diagnose
from core.bilevel.problem import Dynamics, Hypergradient, Problem, State, Tree


@torch.no_grad()
def reverse(
    problem: Problem,
    dynamics: Dynamics,
    lam: Tree,
    *,
    steps: int,
    segment: int | None = None,
    truncate: int | None = None,
) -> Hypergradient:
    """The hypergradient by vector-Jacobian products of single steps.

    With `segment` = m only every m-th iterate is kept and those between are computed again: memory T/m + m states for
    one more run of the dynamics. With `truncate` = K it goes back through the last K steps only (Shaban et al. 2019)
    and keeps as many iterates; with K >= T nothing is cut.
    """
    check(problem, steps)
    for name, value in (("segment", segment), ("truncate", truncate)):
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}: it has to be at least 1")
    lam = trees.detach(lam)
    length = segment or 1
    first = 0 if truncate is None else max(steps - truncate, 0)  # the walk back ends at s_first

    start = state = dynamics.init(lam)
    kept: list[State] = []  # s_first, s_{first + length}, ...
    for t in range(1, steps + 1):
        if t > first and (t - 1 - first) % length == 0:
            kept.append(state)
        state = dynamics.step(t, state, lam)

    outer_loss, pull = vjp(problem.outer, state.w, lam)
    alpha_w, grad = pull(torch.ones_like(outer_loss))
    alpha = State(alpha_w, trees.zeros_like(state.aux))
    while kept:
        begin = first + (len(kept) - 1) * length
        end = min(begin + length, steps)
        states = [kept.pop()]
        for t in range(begin + 1, end):
            states.append(dynamics.step(t, states[-1], lam))
        for t in range(end, begin, -1):
            alpha, grad = _back(dynamics, t, states.pop(), lam, alpha, grad)
    if first == 0:
        grad = trees.add(grad, vjp(dynamics.init, lam)[1](alpha)[0])
    return Hypergradient(grad, outer_loss, state, diagnose(problem, lam, start.w, state.w))


def _back(dynamics: Dynamics, t: int, s: State, lam: Tree, alpha: State, grad: Tree) -> tuple[State, Tree]:
    """(alpha A_t, grad + alpha B_t), with the derivatives taken at (s_{t-1}, lam)."""
    _, pull = vjp(partial(dynamics.step, t), s, lam)
    alpha, contribution = pull(alpha)
    return alpha, trees.add(grad, contribution)
