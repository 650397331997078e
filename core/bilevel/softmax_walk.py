"""The walk of linear softmax heads in the span of the support features, and its adjoint; A_0 = 0 and, for t < T,

P_t = softmax(A_t K), A_{t+1} = A_t - eta_t R_t, R_t = (P_t - Y)/n + l2 A_t,

for the kernel K [B, n, n] of each task's support set and its labels Y [B, C, n], one-hot. Classes come before
examples, which is how small softmaxes and products are fastest.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from core.bilevel.threads import sized


class Adjoint(NamedTuple):
    """Derivatives of E."""

    kernel: Tensor
    """dE/dK [B, n, n]."""
    iterates: Sequence[Tensor]
    """dE/dA_{t+1} [B, C, n], for t = 0 .. T - 1."""


class Walk(NamedTuple):
    """A_0 .. A_T, and how derivatives come back from A_T."""

    iterates: Tensor
    """[B, T + 1, C, n]."""
    probabilities: Tensor
    """P_t, t < T [B, T, C, n]."""
    pull: Callable[[Tensor], Adjoint]
    """From dE/dA_T [B, C, n]."""


def walk(kernel: Tensor, targets: Tensor, rates: Tensor, l2: float, steps: int) -> Walk:
    """T = steps steps at the rates eta_0 .. eta_{T-1} [T], or one for all [1].

    It goes by S_t = A_t K: S_{t+1} = (1 - eta l2) S_t + (P_t - Y) (-eta K / n); the A_t are sums, made after the loop.
    """
    scaled, decays = _each(kernel, rates, l2, steps)
    with sized(targets.numel() * kernel.shape[-1]):
        found = [p for p, _ in _walked(scaled, decays, targets)]
    probabilities = _stack(found, targets)
    iterates = _sums(-_wide(rates) * ((probabilities - targets.unsqueeze(1)) / kernel.shape[-1]), decays)

    def pull(a_bar: Tensor) -> Adjoint:
        a_bars, pulled = [], []
        with sized(targets.numel() * kernel.shape[-1]):  # in the loop is only what depends on the step behind
            for t, p in reversed(list(enumerate(found))):
                # The softmax's adjoint, p (a_bar - <p, a_bar>), which autograd calls by this name, in one operation.
                u = torch._softmax_backward_data(a_bar, p, 1, p.dtype)
                a_bars.append(a_bar)
                pulled.append(u)
                a_bar = torch.baddbmm(decays[t] * a_bar if l2 else a_bar, u, scaled[t])  # K is symmetric
        s_bars = -_wide(rates / kernel.shape[-1]) * _stack(pulled[::-1], targets)
        return Adjoint(pulled_back(s_bars, iterates), a_bars[::-1])

    return Walk(iterates, probabilities, pull)


def end(kernel: Tensor, targets: Tensor, rate: Tensor, l2: float, steps: int) -> Tensor:
    """A_T [B, C, n] alone, at one rate [1] for all steps: nothing of the way there is kept."""
    scaled, decays = _each(kernel, rate, l2, steps)
    share, a = -rate / kernel.shape[-1], torch.zeros_like(targets)
    with sized(targets.numel() * kernel.shape[-1]):
        for t, (_, errors) in enumerate(_walked(scaled, decays, targets)):
            a = torch.addcmul(decays[t] * a if l2 else a, errors, share)
    return a


def _each(kernel: Tensor, rates: Tensor, l2: float, steps: int) -> tuple[list[Tensor], list[Tensor]]:
    """-eta_t K / n and, where anything decays, 1 - eta_t l2, for t < T: views of one where there is one rate."""
    scaled = (-rates[:, None, None, None] / kernel.shape[-1] * kernel).expand(steps, *kernel.shape)
    return list(scaled), list((1 - l2 * rates).expand(steps)) if l2 else []


def _walked(scaled: list[Tensor], decays: list[Tensor], targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """P_t and P_t - Y, one step after the other."""
    scores = torch.zeros_like(targets)
    for t, k in enumerate(scaled):
        p = scores.softmax(1)
        errors = p - targets
        yield p, errors
        scores = torch.baddbmm(decays[t] * scores if decays else scores, errors, k)


def pulled_back(s_bars: Tensor, iterates: Tensor) -> Tensor:
    """dE/dK, the sum over t < T of S_bar_t' A_t, as one product a task."""
    return s_bars.flatten(1, 2).mT @ iterates[:, :-1].flatten(1, 2)


def _sums(moves: Tensor, decays: list[Tensor]) -> Tensor:
    """A_0 = 0, A_{t+1} = decay_t A_t + move_t [B, T + 1, C, n]."""
    start = moves.new_zeros(moves.shape[0], 1, *moves.shape[2:])
    if not decays and not (moves.is_cuda and torch.are_deterministic_algorithms_enabled()):  # cumsum is not, there
        return torch.cat([start, moves.cumsum(1)], 1)
    found = [start[:, 0]]
    for t, move in enumerate(moves.unbind(1)):
        found.append(torch.addcmul(move, found[-1], decays[t]) if decays else found[-1] + move)
    return torch.stack(found, 1)


def _wide(rates: Tensor) -> Tensor:
    """[T] against [B, T, C, n]."""
    return rates[:, None, None]


def _stack(found: list[Tensor], like: Tensor) -> Tensor:
    """[B, T, C, n], for T = 0 too."""
    return torch.stack(found, 1) if found else like.new_zeros(like.shape[0], 0, *like.shape[1:])
