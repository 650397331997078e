"""Inner dynamics: how inner variables move."""

from typing import Annotated, Literal

from pydantic import Field

from core.spec.base import Count, Momentum, Rate, Spec


class InnerDynamics(Spec):
    """Fields that all dynamics have."""

    rate: Rate = 0.1
    """Inner step size eta."""
    learn_rate: bool = False
    """Whether the rate is an outer variable too (through its logarithm)."""
    rate_per_step: bool = False
    """With `learn_rate`: one rate for each of the inner steps (Maclaurin et al. 2015), all `rate` at the start; steps
    beyond them use the last one."""
    batch: Count | None = None
    """Examples of a minibatch of the inner objective, drawn by (seed, step); by default all of them."""

    def learned(self) -> list[str]:
        """The fields that make outer variables of numbers of the dynamics."""
        return [name for name in ("learn_rate", "learn_momentum") if getattr(self, name, False)]


class GradientDescent(InnerDynamics):
    """w_t = w_{t-1} - eta grad L(w_{t-1})."""

    kind: Literal["gradient_descent"] = "gradient_descent"
    rate_per_parameter: bool = False
    """With `learn_rate`, for the problem `initialization`: a rate alpha for each inner variable of a task, all `rate`
    at the start, w_t = w_{t-1} - alpha o grad L (Meta-SGD, Li et al. 2017). The outer variables are the alpha
    themselves, which may become negative."""


class MomentumFields(InnerDynamics):
    """Fields of heavy ball and Nesterov."""

    momentum: Momentum = 0.9
    """Momentum mu."""
    learn_momentum: bool = False
    """Whether the momentum is an outer variable too (through its logit)."""
    momentum_per_step: bool = False
    """With `learn_momentum`: one momentum for each of the inner steps, as `rate_per_step` has one rate."""


class HeavyBall(MomentumFields):
    """v_t = mu v_{t-1} + grad L(w_{t-1}), w_t = w_{t-1} - eta v_t."""

    kind: Literal["heavy_ball"] = "heavy_ball"


class Nesterov(MomentumFields):
    """v_t = mu v_{t-1} + grad L(w_{t-1} - eta mu v_{t-1}), w_t = w_{t-1} - eta v_t."""

    kind: Literal["nesterov"] = "nesterov"


class AdamFields(InnerDynamics):
    """Fields of both Adams."""

    rate: Rate = 0.01
    """Inner step size eta."""
    beta1: Momentum = 0.9
    """Decay of the first moment."""
    beta2: Momentum = 0.999
    """Decay of the second moment."""
    epsilon: Annotated[float, Field(gt=0, le=1)] = 1e-8
    """Added to the second moment under the root."""


class AdamDynamics(AdamFields):
    """Adam (Kingma and Ba 2015) with bias correction, epsilon inside the root so that it is smooth."""

    kind: Literal["adam"] = "adam"


class AdamW(AdamFields):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), epsilon inside the root."""

    kind: Literal["adamw"] = "adamw"
    decay: Annotated[float, Field(ge=0, le=1e3)] = 0.01
    """Weight decay: beside Adam's step, w shrinks by rate * decay."""


class RmsProp(InnerDynamics):
    """w_t = w_{t-1} - eta g_t / sqrt(v_t + epsilon), v_t = beta v_{t-1} + (1 - beta) g_t^2."""

    kind: Literal["rmsprop"] = "rmsprop"
    rate: Rate = 0.01
    """Inner step size eta."""
    beta: Momentum = 0.99
    """Decay of the second moment."""
    epsilon: Annotated[float, Field(gt=0, le=1)] = 1e-8
    """Added to the second moment under the root."""


class LineSearch(InnerDynamics):
    """Gradient descent, each step as large as L(w - eta g) <= L(w) - decrease eta ||g||^2 allows (Armijo).

    For hypergradients that do not differentiate the steps: `implicit` with `cg`, `cg_normal` or `dense`, `exact`,
    `first_order`, `reptile`.
    """

    kind: Literal["line_search"] = "line_search"
    rate: Rate = 1.0
    """Step size that is tried first."""
    shrink: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Factor from one trial to the next."""
    decrease: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    """Part of the decrease that the gradient promises which has to come about."""
    trials: Annotated[int, Field(ge=1, le=100)] = 30
    """Largest number of step sizes tried; if none does, w stays where it is."""


Dynamics = Annotated[
    GradientDescent | HeavyBall | Nesterov | AdamDynamics | AdamW | RmsProp | LineSearch, Field(discriminator="kind")
]
