"""Linear softmax heads of many tasks, fitted by gradient descent from w_0 = 0: the dual walk.

Every iterate stays in the span of the support features, w_t = X'A_t' with A_t [C, n], so that with K = XX' [n, n]
A_{t+1} = A_t - eta_t R_t, R_t = (softmax(A_t K) - Y)/n + l2 A_t,
the same dynamics at n^2 C a step instead of n d C, whatever the number of features d. Its adjoint is written by hand.

z = {"support": X [B, n, d], "query": Q [B, q, d], ...}: tasks on the leading axis; every feature vector gets a 1
appended, whose weight is the bias; other entries of z may hold outer variables that the rate is read from.
Labels are [B, n] and [B, q], or [n] and [q] where all tasks have the same.
Inner objective: sum over tasks of mean cross-entropy, + l2/2 ||w||^2. Outer: mean over tasks of mean cross-entropy.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.derivatives import vjp
from core.bilevel.dynamics import Scalar
from core.bilevel.episode_features import cross_entropy, entry, one_hot, with_one
from core.bilevel.hypergradients.inner import check
from core.bilevel.problem import Dynamics, Hypergradient, Problem, State, Tree
from core.bilevel.threads import sized


def init(z: Tree, *, way: int) -> Tensor:
    """w_0 = 0 [B, d + 1, C]; the last row is the bias."""
    x = entry(z, "support")
    return x.new_zeros(x.shape[0], x.shape[2] + 1, way)


def scores(w: Tree, x: Tensor) -> Tensor:
    """Logits [B, n, C] of the heads w for the features x [B, n, d]."""
    assert isinstance(w, Tensor)
    return torch.baddbmm(w[:, -1:], x, w[:, :-1])


def inner_objective(w: Tree, z: Tree, *, support_labels: Tensor, l2: float = 0.0) -> Tensor:
    """Sum over tasks of the mean cross-entropy of the support set, + l2/2 ||w||^2."""
    x = entry(z, "support")
    loss = x.shape[0] * cross_entropy(scores(w, x), support_labels)
    return loss + l2 / 2 * trees.dot(w, w) if l2 else loss


def outer_objective(w: Tree, z: Tree, *, query_labels: Tensor) -> Tensor:
    """Mean over tasks of the mean cross-entropy of the query set."""
    return cross_entropy(scores(w, entry(z, "query")), query_labels)


@torch.no_grad()
def dual_walk(
    problem: Problem,
    dynamics: Dynamics,
    lam: Tree,
    *,
    steps: int,
    support_labels: Tensor,
    query_labels: Tensor,
    way: int,
    rate: Scalar,
    l2: float = 0.0,
) -> Hypergradient:
    """Reverse mode for `inner_objective`, `outer_objective`, `init` above under gradient descent.

    A Method once the other arguments are bound; they say all about the problem and dynamics, which have to be those
    above: equal to `reverse` on them to round-off.
    """
    check(problem, steps)
    z = trees.detach(lam)
    x, q = with_one(entry(z, "support")), with_one(entry(z, "query"))
    kernel, cross = x @ x.mT, x @ q.mT  # [B, n, n], [B, n, q]
    targets, expected = one_hot(support_labels, x, way), one_hot(query_labels, q, way)
    rates, pull_rates = _rates(rate, z, steps) if callable(rate) else (x.new_full((1,), rate), None)
    with sized(targets.numel() * kernel.shape[-1]):
        walk = _walk(kernel, targets, rates, l2, steps)
    last = walk.iterates[:, -1]  # A_T

    logits = last @ cross
    g = (logits.softmax(1) - expected) / (q.shape[0] * q.shape[1])  # dE/dlogits
    with sized(targets.numel() * kernel.shape[-1]):
        adjoint = _adjoint(walk, g @ cross.mT)
    cross_bar = last.mT @ g  # dE/dcross
    support_bar = (adjoint.kernel + adjoint.kernel.mT) @ x + cross_bar @ q
    features = {"support": support_bar[..., :-1], "query": (cross_bar.mT @ x)[..., :-1]}
    grad = trees.zeros_like(z) | features
    if pull_rates is not None:
        grad = trees.add(grad, pull_rates(_slopes(walk, adjoint.iterates)))
    found = _diagnose(kernel, last, targets, support_labels, l2)
    return Hypergradient(grad, cross_entropy(logits.mT, query_labels), State(x.mT @ last.mT), found)


class _Walk(NamedTuple):
    """Classes come before examples, which is how small softmaxes and products are fastest."""

    iterates: Tensor  # A_0 .. A_T [B, T + 1, C, n]
    probabilities: list[Tensor]  # P_t = softmax(A_t K), t < T [B, C, n] each
    residuals: Tensor  # R_t, t < T [B, T, C, n]
    rates: Tensor  # [T], or [1] for all
    kernels: list[Tensor]  # -eta_t K / n, t < T [B, n, n] each
    decays: list[Tensor]  # 1 - eta_t l2, t < T; none where nothing decays


def _walk(kernel: Tensor, targets: Tensor, rates: Tensor, l2: float, steps: int) -> _Walk:
    """S_{t+1} = (1 - eta l2) S_t + (P_t - Y) (-eta K / n) for S_t = A_t K; the A_t are sums, made after the loop."""
    kernels = _each(-rates / kernel.shape[-1], kernel, steps)
    decays = list((1 - l2 * rates).expand(steps)) if l2 else []
    scores, probabilities = torch.zeros_like(targets), []
    for t, scaled in enumerate(kernels):
        p = scores.softmax(1)
        probabilities.append(p)
        scores = torch.baddbmm(decays[t] * scores if l2 else scores, p - targets, scaled)
    errors = (_stack(probabilities, targets) - targets.unsqueeze(1)) / kernel.shape[-1]
    iterates = _sums(-_wide(rates) * errors, decays)
    residuals = torch.add(errors, iterates[:, :-1], alpha=l2) if l2 else errors
    return _Walk(iterates, probabilities, residuals, rates, kernels, decays)


def _sums(moves: Tensor, decays: list[Tensor]) -> Tensor:
    """A_0 = 0, A_{t+1} = decay_t A_t + move_t [B, T + 1, C, n]."""
    start = moves.new_zeros(moves.shape[0], 1, *moves.shape[2:])
    if not decays:
        return torch.cat([start, moves.cumsum(1)], 1)
    found = [start[:, 0]]
    for decay, move in zip(decays, moves.unbind(1), strict=True):
        found.append(torch.addcmul(move, found[-1], decay))
    return torch.stack(found, 1)


class _Adjoint(NamedTuple):
    kernel: Tensor  # dE/dK [B, n, n]
    iterates: list[Tensor]  # dE/dA_{t+1}, for t = T-1 .. 0


def _adjoint(walk: _Walk, a_bar: Tensor) -> _Adjoint:
    """Derivatives of E from that with respect to A_T.

    The loop has only what depends on the step behind; K_bar = sum over t of S_bar_t' A_t is one product after it.
    """
    a_bars, pulled = [], []
    for t, p in reversed(list(enumerate(walk.probabilities))):
        # The adjoint of the softmax, p (a_bar - <p, a_bar>), which autograd calls by this name, in one operation.
        u = torch._softmax_backward_data(a_bar, p, 1, p.dtype)
        a_bars.append(a_bar)
        pulled.append(u)
        decayed = walk.decays[t] * a_bar if walk.decays else a_bar
        a_bar = torch.baddbmm(decayed, u, walk.kernels[t])  # K is symmetric
    s_bars = -_wide(walk.rates / a_bar.shape[-1]) * _stack(pulled[::-1], a_bar)
    return _Adjoint(s_bars.flatten(1, 2).mT @ walk.iterates[:, :-1].flatten(1, 2), a_bars)


def _slopes(walk: _Walk, a_bars: list[Tensor]) -> Tensor:
    """dE/deta_t = -<dE/dA_{t+1}, R_t> [T]."""
    return -(_stack(a_bars[::-1], walk.residuals[:, 0]) * walk.residuals).sum((0, 2, 3))


def _each(rates: Tensor, kernel: Tensor, steps: int) -> list[Tensor]:
    """rates[t] K for each t; one for all where there is one rate."""
    return list((rates[:, None, None, None] * kernel).expand(steps, *kernel.shape))


def _wide(rates: Tensor) -> Tensor:
    """[T] against [B, T, C, n]."""
    return rates[:, None, None]


def _stack(found: list[Tensor], like: Tensor) -> Tensor:
    """[B, T, C, n], for T = 0 too."""
    return torch.stack(found, 1) if found else like.new_zeros(like.shape[0], 0, *like.shape[1:])


def _rates(rate: Callable[[int, Tree], Tensor], z: Tree, steps: int) -> tuple[Tensor, Callable[[Tensor], Tree]]:
    """eta_1 .. eta_T as a tensor [T], and its vector-Jacobian product with respect to z."""

    def all_rates(z: Tree) -> Tensor:
        return torch.cat([entry(z, "support").new_zeros(0), *(rate(t, z).reshape(1) for t in range(1, steps + 1))])

    rates, pull = vjp(all_rates, z)
    return rates, lambda bar: pull(bar)[0]


def _diagnose(kernel: Tensor, a: Tensor, targets: Tensor, labels: Tensor, l2: float) -> dict[str, Tensor]:
    """As `hypergradients.inner.diagnose`, by w = X'A' and ||R X||^2 = <R, R K>; a and targets are [B, C, n]."""
    tasks, examples = kernel.shape[:2]
    scores = a @ kernel
    residual = (scores.softmax(1) - targets) / examples + l2 * a
    return {
        "inner_objective_start": tasks * cross_entropy(torch.zeros_like(scores).mT, labels),
        "inner_objective_end": tasks * cross_entropy(scores.mT, labels) + l2 / 2 * (a * scores).sum(),
        "inner_gradient_norm": (residual * (residual @ kernel)).sum().clamp(min=0).sqrt(),
    }
