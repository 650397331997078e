"""Gradient descent of a linear model by analytic steps, classes first: V = W' [C, d].

V_t = V_{t-1} - eta (R x + s V_{t-1}),   R = scale (mean(V_{t-1} x') - y),   scale_i = weight_i / n
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from core.bilevel.dynamics import Init
from core.bilevel.linear_models.model import LinearModel
from core.bilevel.problem import Dynamics, Problem, State, Tree

Rate = float | Callable[[Tree], Tensor]
"""A number, or lam -> scalar: the same at every step."""


class Coefficients(NamedTuple):
    """All that the steps take from lam."""

    scale: Tensor
    """weight_i / n, [k, 1, m] as in `ClassMajor`."""
    strengths: Tensor
    """[C, d]."""
    rate: Tensor
    """A scalar."""


def coefficients(model: LinearModel, rate: Rate, lam: Tree) -> Coefficients:
    """Differentiable in lam."""
    data = model.class_major
    scale = data.share if model.weights is None else data.share * data.rows(model.weights(lam))
    strengths = model.strengths(lam).expand(data.x.shape[-1], data.y.shape[-2]).mT
    return Coefficients(scale, strengths, rate(lam) if callable(rate) else data.x.new_tensor(rate))


def gradient(model: LinearModel, c: Coefficients, v: Tensor) -> Tensor:
    """grad L at V, [C, d]."""
    data = model.class_major
    error = model.loss.mean(data.scores(v), -2) - data.y
    return torch.addcmul(data.pull(error * c.scale), c.strengths, v)


def gradient_descent(model: LinearModel, init: Init, *, rate: Rate) -> Dynamics:
    """As `core.bilevel.dynamics.gradient_descent` on the model's objective."""

    def step(t: int, s: State, lam: Tree) -> State:
        c, v = coefficients(model, rate, lam), model.matrix(s.w).mT
        return State(model.tree((v - c.rate * gradient(model, c, v)).mT))

    return Dynamics(lambda lam: State(init(lam)), step)


def stepping(model: LinearModel, c: Coefficients) -> Callable[[Tensor], Tensor]:
    """V_{t-1} -> V_t, with what is the same at every step made once; not to be differentiated."""
    data, mean = model.class_major, model.loss.mean
    eta, decay, desired = float(c.rate), 1 - c.rate * c.strengths, -c.scale * data.y

    def step(v: Tensor) -> Tensor:
        residual = torch.addcmul(desired, mean(data.scores(v), -2), c.scale)
        return torch.add(v * decay, data.pull(residual), alpha=-eta)

    return step


def diagnose(model: LinearModel, c: Coefficients, start: Tensor, end: Tensor) -> dict[str, Tensor]:
    """As `hypergradients.inner.diagnose`."""
    data = model.class_major

    def value(v: Tensor) -> Tensor:
        losses = model.loss.value(data.scores(v), data.y, -2)
        return (losses * c.scale.squeeze(-2)).sum() + 0.5 * (c.strengths * v * v).sum()

    return {
        "inner_objective_start": value(start),
        "inner_objective_end": value(end),
        "inner_gradient_norm": torch.linalg.vector_norm(gradient(model, c, end)),
    }


def model_of(problem: Problem) -> LinearModel:
    """The linear model that the inner problem says it is."""
    if problem.linear is None:
        raise ValueError("the inner problem is not stated as a linear model: give it `linear`, or use a plain method")
    return problem.linear
