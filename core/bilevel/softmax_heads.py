"""Linear softmax heads of many tasks, fitted by gradient descent from w_0 = 0: the dual walk.

Every iterate stays in the span of the support features, w_t = X'A_t' with A_t [C, n], so that K = XX' [n, n] is all
that the walk sees of them (`softmax_walk`): the same dynamics at n^2 C a step instead of n d C, whatever the number of
features d. Its adjoint is written by hand.

z = {"support": X [B, n, d], "query": Q [B, q, d], ...}: tasks on the leading axis; every feature vector gets a 1
appended, whose weight is the bias; other entries of z may hold outer variables that the rate is read from.
Labels are [B, n] and [B, q], or [n] and [q] where all tasks have the same; the walk is for tasks of as many classes.
Inner objective: sum over tasks of mean cross-entropy, + l2/2 ||w||^2. Outer: mean over tasks of mean cross-entropy.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from core.bilevel import fused, softmax_walk, trees
from core.bilevel.derivatives import vjp
from core.bilevel.dynamics import Scalar
from core.bilevel.episode_features import cross_entropy, entry, masked, one_hot, shares, with_one
from core.bilevel.hypergradients.inner import check
from core.bilevel.limits import FUSED_CLASSES, FUSED_EXAMPLES
from core.bilevel.linear_models.walk import Rate
from core.bilevel.problem import Dynamics, Hypergradient, Problem, State, Tree
from core.bilevel.softmax_walk import Walk

MOST_KEPT = 2**22
"""Numbers of each of its two trajectories that a kernel of all steps may keep for the last iterate alone."""


def init(z: Tree, *, way: int) -> Tensor:
    """w_0 = 0 [B, d + 1, C]; the last row is the bias."""
    x = entry(z, "support")
    return x.new_zeros(x.shape[0], x.shape[2] + 1, way)


def scores(w: Tree, x: Tensor) -> Tensor:
    """Logits [B, n, C] of the heads w for the features x [B, n, d]."""
    assert isinstance(w, Tensor)
    return torch.baddbmm(w[:, -1:], x, w[:, :-1])


def inner_objective(w: Tree, z: Tree, *, support_labels: Tensor, ways: Tensor | None = None, l2: float = 0.0) -> Tensor:
    """Sum over tasks of the mean cross-entropy of the support set, + l2/2 ||w||^2."""
    x = entry(z, "support")
    loss = x.shape[0] * cross_entropy(scores(w, x), support_labels, ways)
    return loss + l2 / 2 * trees.dot(w, w) if l2 else loss


def inner_gradient(w: Tree, z: Tree, *, support_labels: Tensor, ways: Tensor | None = None, l2: float = 0.0) -> Tensor:
    """grad_w of `inner_objective`, written out: X'R + l2 w [B, d + 1, C], R = (softmax(X w) - Y) / n."""
    assert isinstance(w, Tensor)
    x = entry(z, "support")
    expected = one_hot(support_labels, x, w.shape[-1]).mT  # none of who is absent
    residuals = shares(support_labels, x) * (masked(scores(w, x), ways).softmax(-1) - expected)
    grad = torch.cat([x.mT @ residuals, residuals.sum(1, keepdim=True)], 1)
    return grad + l2 * w if l2 else grad


def outer_objective(w: Tree, z: Tree, *, query_labels: Tensor, ways: Tensor | None = None) -> Tensor:
    """Mean over tasks of the mean cross-entropy of the query set."""
    return cross_entropy(scores(w, entry(z, "query")), query_labels, ways)


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
    walk = (_fused_walk(targets, steps) or softmax_walk.walk)(kernel, targets, rates, l2, steps)
    last = walk.iterates[:, -1]  # A_T

    log_p = (last @ cross).log_softmax(1)
    g = (log_p.exp() - expected) / (q.shape[0] * q.shape[1])  # dE/dlogits
    adjoint = walk.pull(g @ cross.mT, pull_rates is not None)
    cross_bar = last.mT @ g  # dE/dcross
    support_bar = (adjoint.kernel + adjoint.kernel.mT) @ x + cross_bar @ q
    features = {"support": support_bar[..., :-1], "query": (cross_bar.mT @ x)[..., :-1]}
    grad = {name: features[name] if name in features else trees.zeros_like(other) for name, other in z.items()}
    if pull_rates is not None and adjoint.rates is not None:
        grad = trees.add(grad, pull_rates(adjoint.rates))
    loss = (expected * log_p).sum() / -(q.shape[0] * q.shape[1])
    return Hypergradient(grad, loss, State(x.mT @ last.mT), _diagnose(kernel, last, targets, l2))


@torch.no_grad()
def fitted(z: Tree, *, steps: int, support_labels: Tensor, way: int, rate: Rate, l2: float = 0.0) -> Tensor:
    """w_T [B, d + 1, C] of gradient descent on `inner_objective` from w_0 = 0, at one rate for all steps."""
    x = with_one(entry(z, "support"))
    kernel, targets = x @ x.mT, one_hot(support_labels, x, way)
    eta = rate(z).reshape(1) if callable(rate) else x.new_full((1,), rate)
    walk = _fused_walk(targets, steps)
    if walk and (together := MOST_KEPT // (steps * targets[0].numel())):
        parts = zip(torch.split(kernel, together), torch.split(targets, together), strict=True)
        last = torch.cat([walk(k, y, eta, l2, steps).iterates[:, -1] for k, y in parts])
    else:
        last = softmax_walk.end(kernel, targets, eta, l2, steps)
    return x.mT @ last.mT


def _fused_walk(targets: Tensor, steps: int) -> Callable[[Tensor, Tensor, Tensor, float, int], Walk] | None:
    """All steps for targets [B, C, n] in one kernel, where the device can do that.

    A task has to fit in the registers of one multiprocessor.
    """
    classes, examples = targets.shape[1:]
    small = steps > 0 and classes <= FUSED_CLASSES and examples <= FUSED_EXAMPLES
    if not small or targets.dtype != torch.float32 or not fused.available(targets.device):
        return None
    from core.bilevel import softmax_walk_triton

    return softmax_walk_triton.walk


def _rates(rate: Callable[[int, Tree], Tensor], z: Tree, steps: int) -> tuple[Tensor, Callable[[Tensor], Tree]]:
    """eta_1 .. eta_T as a tensor [T], and its vector-Jacobian product with respect to z."""

    def all_rates(z: Tree) -> Tensor:
        return torch.cat([entry(z, "support").new_zeros(0), *(rate(t, z).reshape(1) for t in range(1, steps + 1))])

    rates, pull = vjp(all_rates, z)
    return rates, lambda bar: pull(bar)[0]


def _diagnose(kernel: Tensor, a: Tensor, targets: Tensor, l2: float) -> dict[str, Tensor]:
    """As `hypergradients.inner.diagnose`, by w = X'A' and ||R X||^2 = <R, R K>; a and targets are [B, C, n]."""
    (tasks, way, examples), scores = targets.shape, a @ kernel
    log_p = scores.log_softmax(1)
    residual, end = (log_p.exp() - targets) / examples, (targets * log_p).sum() / -examples
    if l2:
        residual, end = residual + l2 * a, end + l2 / 2 * (a * scores).sum()
    return {
        "inner_objective_start": kernel.new_full((), tasks * math.log(way)),
        "inner_objective_end": end,
        "inner_gradient_norm": (residual * (residual @ kernel)).sum().clamp(min=0).sqrt(),
    }
