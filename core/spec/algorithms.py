"""How a problem is solved: inner dynamics, hypergradient, outer optimizer, algorithm."""

from typing import Annotated, Literal

from pydantic import Field

from core.spec.base import Count, Momentum, Rate, Spec

# --- inner dynamics -------------------------------------------------------------------------------


class InnerDynamics(Spec):
    """Fields that all dynamics have."""

    rate: Rate = 0.1
    """Inner step size eta."""
    learn_rate: bool = False
    """Whether the rate is an outer variable too (through its logarithm)."""
    batch: Count | None = None
    """Examples of a minibatch of the inner objective, drawn by (seed, step); by default all of them."""


class GradientDescent(InnerDynamics):
    """w_t = w_{t-1} - eta grad L(w_{t-1})."""

    kind: Literal["gradient_descent"] = "gradient_descent"


class HeavyBall(InnerDynamics):
    """v_t = mu v_{t-1} + grad L(w_{t-1}), w_t = w_{t-1} - eta v_t."""

    kind: Literal["heavy_ball"] = "heavy_ball"
    momentum: Momentum = 0.9
    """Momentum mu."""
    learn_momentum: bool = False
    """Whether the momentum is an outer variable too (through its logit)."""


class Nesterov(InnerDynamics):
    """v_t = mu v_{t-1} + grad L(w_{t-1} - eta mu v_{t-1}), w_t = w_{t-1} - eta v_t."""

    kind: Literal["nesterov"] = "nesterov"
    momentum: Momentum = 0.9
    """Momentum mu."""
    learn_momentum: bool = False
    """Whether the momentum is an outer variable too (through its logit)."""


class AdamDynamics(InnerDynamics):
    """Adam (Kingma and Ba 2015) with bias correction, epsilon inside the root so that it is smooth."""

    kind: Literal["adam"] = "adam"
    rate: Rate = 0.01
    """Inner step size eta."""
    beta1: Momentum = 0.9
    """Decay of the first moment."""
    beta2: Momentum = 0.999
    """Decay of the second moment."""
    epsilon: Annotated[float, Field(gt=0, le=1)] = 1e-8
    """Added to the second moment under the root."""


Dynamics = Annotated[GradientDescent | HeavyBall | Nesterov | AdamDynamics, Field(discriminator="kind")]

# --- linear solvers of implicit differentiation ---------------------------------------------------


class ConjugateGradient(Spec):
    """Conjugate gradient on the inner Hessian."""

    kind: Literal["cg"] = "cg"
    iterations: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Largest number of Hessian products."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 1e-6
    """Relative residual at which it stops."""


class Neumann(Spec):
    """Neumann series of the dynamics' Jacobian, truncated (Lorraine et al. 2020)."""

    kind: Literal["neumann"] = "neumann"
    iterations: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Terms of the series."""


class FixedPoint(Spec):
    """Fixed-point iteration v = J'v + grad_w E of the dynamics' Jacobian (Grazzi et al. 2020)."""

    kind: Literal["fixed_point"] = "fixed_point"
    iterations: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Largest number of Jacobian products."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 1e-6
    """Relative change at which it stops."""


class Dense(Spec):
    """The whole Hessian, factored; for few inner variables."""

    kind: Literal["dense"] = "dense"


LinearSolver = Annotated[ConjugateGradient | Neumann | FixedPoint | Dense, Field(discriminator="kind")]

# --- hypergradients -------------------------------------------------------------------------------


class Unrolled(Spec):
    """Automatic differentiation through the whole inner optimization; keeps every step's graph."""

    kind: Literal["unrolled"] = "unrolled"


class Reverse(Spec):
    """Algorithm 1 of the paper: keeps the iterates, recomputes each step on the way back."""

    kind: Literal["reverse"] = "reverse"
    segment: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Keep every `segment`-th iterate only and recompute those between; by default all are kept."""
    truncate: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Go back through the last `truncate` steps only (Shaban et al. 2019); by default through all."""


class Forward(Spec):
    """Forward mode: one tangent for each outer variable, memory independent of the inner steps."""

    kind: Literal["forward"] = "forward"


class Implicit(Spec):
    """Implicit differentiation at the last iterate, by the stationarity of the inner objective."""

    kind: Literal["implicit"] = "implicit"
    solver: LinearSolver = Field(default_factory=ConjugateGradient, discriminator="kind")
    """How the linear system with the inner Hessian is solved."""


class Exact(Spec):
    """Through the inner problem's closed form; the inner dynamics are not run."""

    kind: Literal["exact"] = "exact"


Hypergradient = Annotated[Unrolled | Reverse | Forward | Implicit | Exact, Field(discriminator="kind")]

# --- outer optimizers -----------------------------------------------------------------------------


class OuterOptimizer(Spec):
    """Fields that all outer optimizers have."""

    rate: Rate = 0.01
    """Outer step size at hyperiteration 0."""
    decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Inverse-time decay: the step size at hyperiteration k is rate / (1 + decay k)."""


class Sgd(OuterOptimizer):
    """Gradient descent."""

    kind: Literal["sgd"] = "sgd"


class MomentumSgd(OuterOptimizer):
    """Gradient descent with heavy-ball momentum."""

    kind: Literal["momentum"] = "momentum"
    momentum: Momentum = 0.9
    """Momentum mu."""


class Adam(OuterOptimizer):
    """Adam (Kingma and Ba 2015)."""

    kind: Literal["adam"] = "adam"
    rate: Rate = 0.001
    """Outer step size at hyperiteration 0."""
    beta1: Momentum = 0.9
    """Decay of the first moment."""
    beta2: Momentum = 0.999
    """Decay of the second moment."""
    epsilon: Annotated[float, Field(gt=0, le=1)] = 1e-8
    """Added to the root of the second moment."""


Optimizer = Annotated[Sgd | MomentumSgd | Adam, Field(discriminator="kind")]

# --- algorithms -----------------------------------------------------------------------------------


class Nested(Spec):
    """Each hyperiteration runs T inner steps from w_0, takes the hypergradient and makes one outer step."""

    kind: Literal["nested"] = "nested"
    steps: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Inner steps T."""
    dynamics: Dynamics = Field(default_factory=GradientDescent, discriminator="kind")
    """The inner dynamics Phi."""
    hypergradient: Hypergradient = Field(default_factory=Reverse, discriminator="kind")
    """How the gradient of the outer objective with respect to the outer variables is computed."""
    optimizer: Optimizer = Field(default_factory=Adam, discriminator="kind")
    """The outer optimizer."""
    hyperiterations: Annotated[int, Field(ge=1, le=10_000_000)] = 100
    """Outer steps."""


Algorithm = Nested
"""A union once there is a second algorithm."""
