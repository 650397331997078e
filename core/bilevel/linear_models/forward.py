"""Forward mode for gradient descent of a linear model, the tangents written by hand; memory does not depend on T.

With Z = dV/dlam, one [C, d] for each entry of lam, and dots for the coefficients' derivatives along it:
Z_t = Z_{t-1} - eta ((scale mean'(scores) Z x' + scale. (P - Y)) x + s Z + s. V) - eta. (R x + s V), all at t - 1.
V and Z go through the data together, as (1 + directions) C classes.
"""

from functools import partial

import torch
from torch import Tensor

from core.bilevel.derivatives import jvps
from core.bilevel.hypergradients.forward import Pushed
from core.bilevel.hypergradients.inner import check
from core.bilevel.linear_models.class_major import Stack
from core.bilevel.linear_models.model import LinearModel
from core.bilevel.linear_models.walk import Coefficients, Rate, coefficients, diagnose, model_of
from core.bilevel.problem import Dynamics, Problem, State, Tree


def push(problem: Problem, dynamics: Dynamics, lam: Tree, directions: Tree, *, steps: int, rate: Rate) -> Pushed:
    """For gradient descent with this rate on `problem.linear`: of the dynamics only the start is taken.

    Equal to `hypergradients.forward.push` to round-off.

    Raises:
        ValueError: the problem is not stated as a linear model.
    """
    check(problem, steps)
    model = model_of(problem)
    c, dots = jvps(partial(coefficients, model, rate), (lam,), (directions,))
    start, tangents = jvps(lambda lam: model.matrix(dynamics.init(lam).w).mT, (lam,), (directions,))
    v, tangents = _walk(model, c, dots, torch.cat([start[None], tangents]).contiguous(), steps)
    w, w_tangents = model.tree(v.mT), torch.func.vmap(model.tree)(tangents.mT)
    outer_loss, slopes = jvps(problem.outer, (w, lam), (w_tangents, directions))
    return Pushed(slopes, outer_loss, State(w), lambda: diagnose(model, c, start, v))


def _walk(
    model: LinearModel, c: Coefficients, dots: Coefficients, stacked: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """V_T [C, d] and Z_T [directions, C, d] from V_0 and Z_0, stacked; `stacked` is overwritten."""
    data, loss, weighted = model.class_major, model.loss, model.weights is not None
    stack = Stack(data, stacked)
    v, tangents = stacked[:1], stacked[1:]
    of_v, of_tangents = stack.scores[..., :1, :, :], stack.scores[..., 1:, :, :]  # [..., 1 or directions, C, m]
    flat = stack.scores.flatten(-3, -2)
    y, scale = data.y.unsqueeze(-3), c.scale.unsqueeze(-3)  # [..., 1, C, m], [..., 1, 1, m]
    scale_dots = dots.scale.movedim(0, -3)  # [..., directions, 1, m]
    eta, decay, rate_dots = float(c.rate), 1 - c.rate * c.strengths, -dots.rate[:, None, None]
    decay_dots = rate_dots * c.strengths - eta * dots.strengths  # [directions, C, d]

    for _ in range(steps):
        stack.update()
        mean = loss.mean(of_v, -2)
        error = mean - y
        curved = loss.slope(mean, of_tangents, scale, -2)
        if weighted:
            curved.addcmul_(scale_dots, error)
        of_tangents.copy_(curved)
        torch.mul(error, scale, out=of_v)
        pulled = data.pull(flat).view(stacked.shape)
        tangents.mul_(decay).addcmul_(decay_dots, v).addcmul_(rate_dots, pulled[:1])
        v.mul_(decay)
        stacked.sub_(pulled, alpha=eta)
    return stacked[0], tangents
