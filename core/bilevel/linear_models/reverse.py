"""Reverse mode for gradient descent of a linear model, the adjoint written by hand; keeps iterates.

From alpha_T = dE/dV_T, back through V_t = V_{t-1} - eta (R x + s V_{t-1}), with P, Y the mean and target of the
scores at V_{t-1}, and U = alpha_t x':
d scale -= eta sum_c (P - Y) U,   d s -= eta V_{t-1} alpha_t,   d eta -= <alpha_t, R x + s V_{t-1}>,
alpha_{t-1} = alpha_t - eta ((scale mean'(scores) U) x + s alpha_t).
The rate is the same at every step, so that its derivative follows from the sums of the other two. Where there is room
beside the iterates, P is kept, too, of the steps that are walked back next: V_{t-1} x' is not made again for them.
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
from core.bilevel.schedule import Segment, automatic, schedule

BLOCK = 32
"""Iterates that are given memory together."""
ROOM = 2**25
"""Bytes that iterates and means may take together; beyond them, iterates only."""


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
    step, means = stepping(model, c), _Means(model.class_major.y, _room(model, c, steps, segment, truncate, snapshots))
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
                v, mean = step(v)
                means.keep(t, mean)
            case "turn":
                end = v
                if t:
                    end, mean = step(v)
                    means.keep(t, mean)
                outer_loss, pull = vjp(lambda v, lam: problem.outer(model.tree(v.mT), lam), end, lam)
                alpha, grad = pull(torch.ones_like(outer_loss))
                adjoint = _Adjoint(model, c, alpha)
            case "back":
                adjoint.back(v, means.of(t))
                reached = t - 1
    grad = trees.add(grad, pull_coefficients(adjoint.coefficients())[0])
    if reached == 0:
        grad = trees.add(grad, pull_first(adjoint.alpha)[0])
    return Hypergradient(grad, outer_loss, State(model.tree(end.mT)), diagnose(model, c, first, end))


def _room(
    model: LinearModel,
    c: Coefficients,
    steps: int,
    segment: Segment | None,
    truncate: int | None,
    snapshots: int | None,
) -> int:
    """How many means there is room for beside the iterates, of the steps that are walked back in one go."""
    back = min(truncate or steps, steps)
    run = automatic(back) if segment == "auto" else segment or snapshots or back
    run = min(run, back)
    left = ROOM - run * c.strengths.numel() * c.strengths.element_size()
    mean = model.class_major.y.numel() * model.class_major.y.element_size()
    return max(0, min(run, left // mean))


class _Means:
    """The means of the scores that the last steps were made with, in memory that is taken once."""

    def __init__(self, like: Tensor, count: int) -> None:
        self.kept, self.steps = like.new_empty(count, *like.shape), [0] * count

    def keep(self, t: int, mean: Tensor) -> None:
        """That of step t, in place of the one that is as many steps older as there is room for."""
        if self.steps:
            place = t % len(self.steps)
            self.kept[place], self.steps[place] = mean, t

    def of(self, t: int) -> "Tensor | None":
        """That of step t, where it is still there."""
        place = t % len(self.steps) if self.steps else 0
        return self.kept[place] if self.steps and self.steps[place] == t else None


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

    def back(self, v: Tensor, mean: "Tensor | None") -> None:
        """From alpha_t to alpha_{t-1}, given V_{t-1} and the mean of its scores, or without it."""
        if mean is None:
            self.v.copy_(v)
            self.stack.update()
            mean, u = self.loss.mean(self.scores, -2), self.u
        else:
            u = self.data.scores(self.alpha)
        self.fit.addcmul_(mean - self.data.y, u)
        self.strengths.addcmul_(v, self.alpha)
        curved = self.data.pull(self.loss.slope(mean, u, self.c.scale, -2))
        self.alpha.mul_(self.decay).sub_(curved, alpha=self.eta)

    def coefficients(self) -> Coefficients:
        """Derivatives with respect to the coefficients."""
        scale = self.fit.sum(-2, keepdim=True)
        rate = -((scale * self.c.scale).sum() + (self.strengths * self.c.strengths).sum())
        return Coefficients(-self.eta * scale, -self.eta * self.strengths, rate.reshape(self.c.rate.shape))
