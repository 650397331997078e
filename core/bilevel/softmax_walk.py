"""The walk of linear softmax heads in the span of the support features, and its adjoint; A_0 = 0 and, for t < T,

P_t = softmax(A_t K), A_{t+1} = A_t - eta_t R_t, R_t = (P_t - Y)/n + l2 A_t,

for the kernel K [B, n, n] of each task's support set and its labels Y [B, C, n], one-hot. Classes come before
examples, which is how small softmaxes and products are fastest.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from core.bilevel.threads import sized


class Adjoint(NamedTuple):
    """Derivatives of E."""

    kernel: Tensor
    """dE/dK [B, n, n]."""
    rates: Tensor | None
    """dE/deta_t, t < T [T], where they were asked for."""


class Walk(NamedTuple):
    """A_0 .. A_T, and how derivatives come back from A_T."""

    iterates: Tensor
    """[B, T + 1, C, n]."""
    pull: Callable[[Tensor, bool], Adjoint]
    """From dE/dA_T [B, C, n], and whether the derivatives by the rates are asked for."""


def walk(kernel: Tensor, targets: Tensor, rates: Tensor, l2: float, steps: int) -> Walk:
    """T = steps steps at the rates eta_0 .. eta_{T-1} [T], or one for all [1].

    It goes by S_t = A_t K: S_{t+1} = (1 - eta l2) S_t + (P_t - Y) (-eta K / n); the A_t are sums, made after the loop.
    In the loops is only what depends on the step before, and sums are in place: others begin with a copy.
    """
    scaled, decays = _each(kernel, rates, l2, steps)
    shares = (-rates / kernel.shape[-1])[:, None, None]  # against [B, T, C, n]
    with sized(targets.numel() * kernel.shape[-1]):
        found = [p for p, _ in _walked(scaled, decays, targets)]
    moves = torch.stack([torch.zeros_like(targets), *found], 1)
    moves[:, 1:].sub_(targets.unsqueeze(1)).mul_(shares)
    iterates = _summed(moves, decays)

    def pull(a_bar: Tensor, by_rates: bool) -> Adjoint:
        a_bar = a_bar.clone()
        a_bars, pulled = [], []
        with sized(targets.numel() * kernel.shape[-1]):
            for t, p in reversed(list(enumerate(found))):
                # The softmax's adjoint, p (a_bar - <p, a_bar>), which autograd calls by this name, in one operation.
                u = torch._softmax_backward_data(a_bar, p, 1, p.dtype)
                if by_rates:
                    a_bars.append(a_bar.clone())
                pulled.append(u)
                (a_bar.mul_(decays[t]) if decays else a_bar).baddbmm_(u, scaled[t])  # K is symmetric
        s_bars = _stack(pulled[::-1], targets).mul_(shares)
        kernel_bar = pulled_back(s_bars, iterates)
        if not by_rates:
            return Adjoint(kernel_bar, None)
        probabilities, bars = _stack(found, targets), _stack(a_bars[::-1], targets)
        return Adjoint(kernel_bar, rate_slopes(bars, iterates, probabilities, targets, l2))

    return Walk(iterates, pull)


def end(kernel: Tensor, targets: Tensor, rate: Tensor, l2: float, steps: int) -> Tensor:
    """A_T [B, C, n] alone, at one rate [1] for all steps: nothing of the way there is kept."""
    scaled, decays = _each(kernel, rate, l2, steps)
    share, a = -rate / kernel.shape[-1], torch.zeros_like(targets)
    with sized(targets.numel() * kernel.shape[-1]):
        for t, (_, errors) in enumerate(_walked(scaled, decays, targets)):
            (a.mul_(decays[t]) if decays else a).addcmul_(errors, share)
    return a


def _each(kernel: Tensor, rates: Tensor, l2: float, steps: int) -> tuple[list[Tensor], list[Tensor]]:
    """-eta_t K / n and, where anything decays, 1 - eta_t l2, for t < T: one tensor T times where there is one rate."""
    often = steps // len(rates) if len(rates) else 0
    scaled = -rates[:, None, None, None] / kernel.shape[-1] * kernel
    return list(scaled) * often, list(1 - l2 * rates) * often if l2 else []


def _walked(scaled: list[Tensor], decays: list[Tensor], targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """P_t and P_t - Y, one step after the other."""
    scores = torch.zeros_like(targets)
    for t, k in enumerate(scaled):
        p = scores.softmax(1)
        errors = p - targets
        yield p, errors
        (scores.mul_(decays[t]) if decays else scores).baddbmm_(errors, k)


def pulled_back(s_bars: Tensor, iterates: Tensor) -> Tensor:
    """dE/dK, the sum over t < T of S_bar_t' A_t, as one product a task."""
    return s_bars.flatten(1, 2).mT @ iterates[:, :-1].flatten(1, 2)


def rate_slopes(a_bars: Tensor, iterates: Tensor, probabilities: Tensor, targets: Tensor, l2: float) -> Tensor:
    """dE/deta_t = -<dE/dA_{t+1}, R_t> [T], of dE/dA_{t+1} and P_t, t < T [B, T, C, n]."""
    residuals = (probabilities - targets.unsqueeze(1)) / targets.shape[-1] + l2 * iterates[:, :-1]
    return -(a_bars * residuals).sum((0, 2, 3))


def _summed(moves: Tensor, decays: list[Tensor]) -> Tensor:
    """A_0 = move_0, A_{t+1} = decay_t A_t + move_{t+1} [B, T + 1, C, n], in place."""
    if not decays and not (moves.is_cuda and torch.are_deterministic_algorithms_enabled()):  # cumsum is not, there
        return moves.cumsum_(1)
    for t, (before, move) in enumerate(pairwise(moves.unbind(1))):
        move.addcmul_(before, decays[t]) if decays else move.add_(before)
    return moves


def _stack(found: list[Tensor], like: Tensor) -> Tensor:
    """[B, T, C, n], for T = 0 too."""
    return torch.stack(found, 1) if found else like.new_zeros(like.shape[0], 0, *like.shape[1:])
