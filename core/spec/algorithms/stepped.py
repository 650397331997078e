"""Algorithms that run given dynamics, and the union of all algorithms."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from core.spec.algorithms.dynamics import Dynamics, GradientDescent
from core.spec.algorithms.hypergradients import Forward, Hypergradient, Reverse
from core.spec.algorithms.optimizers import Adam, Optimizer
from core.spec.base import Momentum, Spec
from core.spec.stochastic import AnyStochastic, name_the_kind


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
    hyperiterations: Annotated[int, Field(ge=0, le=10_000_000)] = 100
    """Outer steps; 0: the outer variables that the problem starts from are evaluated as they are."""
    averaging: Momentum | None = None
    """Evaluations, the result and the artifacts take the average of lam_1 .. lam_k with weights averaging^(k - i)
    instead of lam_k, which the hyperiterations go on from; by default lam_k."""


class RealTime(Spec):
    """One inner run, with an outer step every few inner steps and no new start (Franceschi et al. 2017)."""

    kind: Literal["real_time"] = "real_time"
    interval: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    """Inner steps from one outer step to the next; in all there are interval * hyperiterations of them."""
    dynamics: Dynamics = Field(default_factory=GradientDescent, discriminator="kind")
    """The inner dynamics Phi."""
    hypergradient: Annotated[Forward | Reverse, Field(discriminator="kind")] = Field(default_factory=Forward)
    """`forward`: the tangents go on from one interval to the next, as the inner variables do; `reverse`: back through
    the last interval only."""
    optimizer: Optimizer = Field(default_factory=Adam, discriminator="kind")
    """The outer optimizer."""
    hyperiterations: Annotated[int, Field(ge=1, le=10_000_000)] = 100
    """Outer steps."""

    @property
    def steps(self) -> int:
        """Inner steps of a hyperiteration."""
        return self.interval


class Joint(Spec):
    """Multitask learning (Baxter 1995; `classic` in section 5.3 of the paper), without a hypergradient.

    Heads and representation minimize the same inner objective L together: at each hyperiteration the heads make one
    step of the dynamics and lam one of the outer optimizer along grad_lam L / tasks, both from the old point.
    """

    model_config = ConfigDict(json_schema_extra=name_the_kind)

    kind: Literal["joint"] = "joint"
    interval: Annotated[int, Field(ge=2, le=1_000_000)] = 5
    """Hyperiterations from one meta-batch to the next, whose heads start from w_0 = 0; there lam has no gradient, so
    that the first step is the heads' alone."""
    steps: Annotated[int, Field(ge=1, le=1_000_000)] = 5
    """Inner steps T that fit the heads of an evaluation."""
    dynamics: Dynamics = Field(default_factory=GradientDescent, discriminator="kind")
    """The dynamics of the heads."""
    optimizer: Optimizer = Field(default_factory=Adam, discriminator="kind")
    """The optimizer of the representation."""
    hyperiterations: Annotated[int, Field(ge=1, le=10_000_000)] = 100
    """Steps of heads and representation."""


def _nested_by_default(algorithm: Any) -> Any:
    return {"kind": "nested", **algorithm} if isinstance(algorithm, dict) else algorithm


Stepped = Nested | RealTime
"""Algorithms whose hypergradient comes from steps of given dynamics; the others are `Joint` and `Stochastic`."""

Algorithm = Annotated[
    Nested | RealTime | Joint | AnyStochastic, Field(discriminator="kind"), BeforeValidator(_nested_by_default)
]
"""A spec that does not say which means `nested`."""
