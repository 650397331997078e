"""Reverse mode for gradient descent of a linear model, the adjoint written by hand; keeps iterates only.

From alpha_T = dE/dV_T, back through V_t = V_{t-1} - eta (R x + s V_{t-1}), with P, Y the mean and target of the
scores at V_{t-1}, and U = alpha_t x':
d scale -= eta sum_c (P - Y) U,   d s -= eta V_{t-1} alpha_t,   d eta -= <alpha_t, R x + s V_{t-1}>,
alpha_{t-1} = alpha_t - eta ((scale mean'(scores) U) x + s alpha_t).
The rate is the same at every step, so that its derivative follows from the sums of the other two.
"""

from functools import partial

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.derivatives import vjp
from core.bilevel.hypergradients.inner import check
from core.bilevel.linear_models.class_major import Stack
from core.bilevel.linear_models.model import LinearModel
from core.bilevel.linear_models.walk import Coefficients, Rate, coefficients, diagnose, model_of, stepping
from core.bilevel.problem import Dynamics, Hypergradient, Problem, State, Tree
from core.bilevel.schedule import Segment, schedule

BLOCK = 32
"""Iterates that are given memory together."""


@torch.no_grad()
def reverse(
    problem: Problem,
    dynamics: Dynamics,
    lam: Tree,
    *,
    steps: int,
    rate: Rate,
    segment: Segment | None = None,
    truncate: int | None = None,
    snapshots: int | None = None,
) -> Hypergradient:
    """For gradient descent with this rate on `problem.linear`: of the dynamics only the start is taken.

    Equal to `hypergradients.reverse` to round-off, with the same choice of what is kept.

    Raises:
        ValueError: as `schedule.schedule`, and where the problem is not stated as a linear model.
    """
    check(problem, steps)
    lam = trees.detach(lam)
    model = model_of(problem)
    c, pull_coefficients = vjp(partial(coefficients, model, rate), lam)
    step = stepping(model, c)
    first, pull_first = vjp(lambda lam: model.matrix(dynamics.init(lam).w).mT.contiguous(), lam)
    v = first
    kept, held = list[Tensor](), 0  # iterates in blocks: one by one they would tear the steps' own memory apart
    reached = steps  # the way back has reached V_reached
    for action, t in schedule(steps, segment=segment, truncate=truncate, snapshots=snapshots):
        match action:
            case "keep":
                if held == BLOCK * len(kept):
                    kept.append(v.new_empty(BLOCK, *v.shape))
                kept[held // BLOCK][held % BLOCK] = v
                held += 1
            case "load":
                v = kept[(held - 1) // BLOCK][(held - 1) % BLOCK]
            case "drop":
                held -= 1
            case "advance":
                v = step(v)
            case "turn":
                end = step(v) if t else v
                outer_loss, pull = vjp(lambda v, lam: problem.outer(model.tree(v.mT), lam), end, lam)
                alpha, grad = pull(torch.ones_like(outer_loss))
                adjoint = _Adjoint(model, c, alpha)
            case "back":
                adjoint.back(v)
                reached = t - 1
    grad = trees.add(grad, pull_coefficients(adjoint.coefficients())[0])
    if reached == 0:
        grad = trees.add(grad, pull_first(adjoint.alpha)[0])
    return Hypergradient(grad, outer_loss, State(model.tree(end.mT)), diagnose(model, c, first, end))


class _Adjoint:
    """alpha_t, and the sums over the steps so far, each without its factor -eta."""

    def __init__(self, model: LinearModel, c: Coefficients, alpha: Tensor) -> None:
        self.data, self.loss, self.c = model.class_major, model.loss, c
        both = torch.stack([alpha, alpha])
        self.v, self.alpha = both
        self.stack = Stack(self.data, both)
        self.scores, self.u = self.stack.scores.unbind(-3)  # V_{t-1} x', alpha_t x'
        self.eta, self.decay = float(c.rate), 1 - c.rate * c.strengths
        self.fit, self.strengths = torch.zeros_like(self.data.y), torch.zeros_like(alpha)

    def back(self, v: Tensor) -> None:
        """From alpha_t to alpha_{t-1}, given V_{t-1}."""
        self.v.copy_(v)
        self.stack.update()
        mean = self.loss.mean(self.scores, -2)
        self.fit.addcmul_(mean - self.data.y, self.u)
        self.strengths.addcmul_(v, self.alpha)
        curved = self.data.pull(self.loss.slope(mean, self.u, self.c.scale, -2))
        self.alpha.mul_(self.decay).sub_(curved, alpha=self.eta)

    def coefficients(self) -> Coefficients:
        """Derivatives with respect to the coefficients."""
        scale = self.fit.sum(-2, keepdim=True)
        rate = -((scale * self.c.scale).sum() + (self.strengths * self.c.strengths).sum())
        return Coefficients(-self.eta * scale, -self.eta * self.strengths, rate.reshape(self.c.rate.shape))
