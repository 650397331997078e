"""Outer optimizers: how outer variables move."""

from typing import Annotated, Literal

from pydantic import Field

from core.spec.base import Momentum, Rate, Spec


class OuterOptimizer(Spec):
    """Fields that all outer optimizers have."""

    rate: Rate = 0.01
    """Outer step size at hyperiteration 0."""
    decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Inverse-time decay: the step size at hyperiteration k is rate / (1 + decay k)."""
    cosine: bool = False
    """Whether it falls to 0 at the last hyperiteration besides: times (1 + cos(pi k / hyperiterations)) / 2."""
    clip: Annotated[float, Field(gt=0, le=1e12)] | None = None
    """Largest norm of a hypergradient: a longer one is shortened to it (Pascanu et al. 2013). Inner steps that
    overshoot make enormous ones, which Adam remembers for thousands of hyperiterations. By default none is shortened.
    """


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
