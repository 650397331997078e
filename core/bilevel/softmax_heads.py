"""Linear softmax heads of many tasks, fitted by gradient descent from w_0 = 0: the dual walk.

Every iterate stays in the span of the support features, w_t = X'A_t, so that with K = XX' [n, n]
A_{t+1} = A_t - eta_t R_t, R_t = (softmax(K A_t) - Y)/n + l2 A_t,
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
from torch.nn import functional

from core.bilevel import trees
from core.bilevel.derivatives import vjp
from core.bilevel.dynamics import Scalar
from core.bilevel.hypergradients.inner import check
from core.bilevel.problem import Dynamics, Hypergradient, Problem, State, Tree


def init(z: Tree, *, way: int) -> Tensor:
    """w_0 = 0 [B, d + 1, C]; the last row is the bias."""
    x = _entry(z, "support")
    return x.new_zeros(x.shape[0], x.shape[2] + 1, way)


def scores(w: Tree, x: Tensor) -> Tensor:
    """Logits [B, n, C] of the heads w for the features x [B, n, d]."""
    assert isinstance(w, Tensor)
    return torch.baddbmm(w[:, -1:], x, w[:, :-1])


def inner_objective(w: Tree, z: Tree, *, support_labels: Tensor, l2: float = 0.0) -> Tensor:
    """Sum over tasks of the mean cross-entropy of the support set, + l2/2 ||w||^2."""
    x = _entry(z, "support")
    loss = x.shape[0] * _cross_entropy(scores(w, x), support_labels)
    return loss + l2 / 2 * trees.dot(w, w) if l2 else loss


def outer_objective(w: Tree, z: Tree, *, query_labels: Tensor) -> Tensor:
    """Mean over tasks of the mean cross-entropy of the query set."""
    return _cross_entropy(scores(w, _entry(z, "query")), query_labels)


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
    x, q = _with_one(_entry(z, "support")), _with_one(_entry(z, "query"))
    kernel, cross = x @ x.mT, q @ x.mT  # [B, n, n], [B, q, n]
    targets = _one_hot(support_labels, x, way)
    rates, pull_rates = _rates(rate, z, steps, x)
    walk = _walk(kernel, targets, rates, l2)
    last = walk.last

    logits = cross @ last
    outer_loss = _cross_entropy(logits, query_labels)
    g = (logits.softmax(-1) - _one_hot(query_labels, q, way)) / (q.shape[0] * q.shape[1])  # dE/dlogits
    adjoint = _adjoint(walk, kernel, rates, l2, cross.mT @ g)
    cross_bar = g @ last.mT  # dE/dcross
    support_bar = (adjoint.kernel + adjoint.kernel.mT) @ x + cross_bar.mT @ q
    features = {"support": support_bar[..., :-1], "query": (cross_bar @ x)[..., :-1]}
    grad = trees.add(pull_rates(adjoint.rates), trees.zeros_like(z) | features)
    return Hypergradient(grad, outer_loss, State(x.mT @ last), _diagnose(kernel, last, targets, support_labels, l2))


class _Walk(NamedTuple):
    last: Tensor  # A_T [B, n, C]
    iterates: Tensor  # A_t, t < T [T, B, n, C]
    probabilities: Tensor  # P_t = softmax(K A_t) [T, B, n, C]
    residuals: Tensor  # R_t [T, B, n, C]


def _walk(kernel: Tensor, targets: Tensor, rates: Tensor, l2: float) -> _Walk:
    """A_{t+1} = (1 - eta l2) A_t + G_t and, so that a step has few operations, S_t = K A_t by the same recursion.

    S_{t+1} = (1 - eta l2) S_t + K G_t with G_t = eta (Y - P_t)/n.
    """
    factors = _wide(rates / kernel.shape[-1])
    a = logits = torch.zeros_like(targets)
    iterates, probabilities = [], []
    for target, factor, decay in zip(factors * targets, -factors, 1 - l2 * rates, strict=True):
        p = logits.softmax(-1)
        iterates.append(a)
        probabilities.append(p)
        if l2:
            a, logits = decay * a, decay * logits
        move = torch.addcmul(target, p, factor)
        a, logits = a + move, torch.baddbmm(logits, kernel, move)
    stacked = _Walk(a, _stack(iterates, a), _stack(probabilities, a), a.new_zeros(()))
    errors = (stacked.probabilities - targets) / kernel.shape[-1]
    return stacked._replace(residuals=torch.add(errors, stacked.iterates, alpha=l2))


class _Adjoint(NamedTuple):
    kernel: Tensor
    rates: Tensor


def _adjoint(walk: _Walk, kernel: Tensor, rates: Tensor, l2: float, a_bar: Tensor) -> _Adjoint:
    """Derivatives of E with respect to the kernel [B, n, n] and the rates [T], from that with respect to A_T.

    The loop has only what depends on the step behind; K_bar = sum over t of S_bar_t A_t' is one product after it.
    """
    factors, decays = -_wide(rates / kernel.shape[-1]), 1 - l2 * rates
    a_bars, s_bars = [], []  # with respect to A_{t+1} and K A_t, for t = T-1 .. 0
    for p, factor, decay in zip(walk.probabilities.flip(0), factors.flip(0), decays.flip(0), strict=True):
        # The adjoint of the softmax, p (a_bar - <p, a_bar>), which autograd calls by this name, in one operation.
        s_bar = factor * torch._softmax_backward_data(a_bar, p, -1, p.dtype)
        a_bars.append(a_bar)
        s_bars.append(s_bar)
        a_bar = torch.baddbmm(decay * a_bar if l2 else a_bar, kernel, s_bar)  # K is symmetric
    a_bars_by_t, s_bars_by_t = _stack(a_bars, a_bar).flip(0), _stack(s_bars, a_bar).flip(0)
    return _Adjoint(
        _side_by_side(s_bars_by_t) @ _side_by_side(walk.iterates).mT,
        -(a_bars_by_t * walk.residuals).sum((1, 2, 3)),
    )


def _wide(rates: Tensor) -> Tensor:
    """[T] against [T, B, n, C]."""
    return rates[:, None, None, None]


def _stack(found: list[Tensor], like: Tensor) -> Tensor:
    """[T, B, n, C], for T = 0 too."""
    return torch.stack(found) if found else like.new_zeros(0, *like.shape)


def _side_by_side(stack: Tensor) -> Tensor:
    """[T, B, n, C] -> [B, n, T C]."""
    return stack.permute(1, 2, 0, 3).flatten(2)


def _rates(rate: Scalar, z: Tree, steps: int, like: Tensor) -> tuple[Tensor, Callable[[Tensor], Tree]]:
    """eta_1 .. eta_T as a tensor [T], and its vector-Jacobian product with respect to z."""
    if not callable(rate):
        return like.new_full((steps,), rate), lambda bar: trees.zeros_like(z)

    def all_rates(z: Tree) -> Tensor:
        return torch.cat([like.new_zeros(0), *(rate(t, z).reshape(1) for t in range(1, steps + 1))])

    rates, pull = vjp(all_rates, z)
    return rates, lambda bar: pull(bar)[0]


def _diagnose(kernel: Tensor, a: Tensor, targets: Tensor, labels: Tensor, l2: float) -> dict[str, Tensor]:
    """As `hypergradients.inner.diagnose`, by w = X'A and ||X'R||^2 = <R, K R>."""
    tasks, examples = kernel.shape[:2]
    logits = kernel @ a
    residual = (logits.softmax(-1) - targets) / examples + l2 * a
    return {
        "inner_objective_start": tasks * _cross_entropy(torch.zeros_like(logits), labels),
        "inner_objective_end": tasks * _cross_entropy(logits, labels) + l2 / 2 * (a * logits).sum(),
        "inner_gradient_norm": (residual * (kernel @ residual)).sum().clamp(min=0).sqrt(),
    }


def _entry(z: Tree, name: str) -> Tensor:
    if not isinstance(z, dict) or not isinstance(entry := z.get(name), Tensor):
        raise ValueError(f"softmax heads need z[{name!r}], the features of the {name} sets [tasks, examples, features]")
    return entry


def _with_one(x: Tensor) -> Tensor:
    return torch.cat([x, x.new_ones(1).expand(*x.shape[:-1], 1)], dim=-1)


def _one_hot(labels: Tensor, like: Tensor, way: int) -> Tensor:
    """[B, n, C] in the format of `like` [B, n, d]; unlike functional.one_hot it never waits for the device."""
    classes = torch.arange(way, device=labels.device)
    return (labels.expand(like.shape[:2]).unsqueeze(-1) == classes).to(like.dtype)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over tasks and examples; logits [B, n, C]."""
    flat = labels.expand(logits.shape[:2]).reshape(-1)
    return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), flat)
