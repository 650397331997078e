"""Hypergradients: how the gradient of the outer objective is computed."""

from typing import Annotated, Literal

from pydantic import Field

from core.spec.algorithms.solvers import ConjugateGradient, LinearSolver, ToleranceSchedule
from core.spec.base import Spec


class Unrolled(Spec):
    """Automatic differentiation through the whole inner optimization; keeps every step's graph."""

    kind: Literal["unrolled"] = "unrolled"


class Reverse(Spec):
    """Algorithm 1 of the paper: keeps the iterates, recomputes each step on the way back."""

    kind: Literal["reverse"] = "reverse"
    segment: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["auto"] | None = None
    """Keep every `segment`-th iterate only and recompute those between; `auto`: about the root of the inner steps. By
    default all are kept."""
    truncate: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Go back through the last `truncate` steps only (Shaban et al. 2019); by default through all."""
    snapshots: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Keep at most so many iterates at a time, by the schedule that recomputes the fewest steps (Griewank and Walther
    2000); by default all are kept."""


class Reversible(Spec):
    """Reverse mode through heavy ball that keeps no iterate: each step is undone to the bit (Maclaurin et al. 2015).

    The series `buffer_bits` is the bits kept per step and inner variable, about a fifth of one for the momentum 0.9.
    """

    kind: Literal["reversible"] = "reversible"
    fraction_bits: Annotated[int, Field(ge=16, le=52)] = 40
    """Inner variables and velocity are multiples of 2^-fraction_bits, up to 2^(61 - fraction_bits) in size."""


class Forward(Spec):
    """Forward mode: one tangent for each outer variable, memory independent of the inner steps."""

    kind: Literal["forward"] = "forward"
    chunk: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Tangents that are pushed together; each further group runs the inner dynamics once more. By default all."""


class RandomForward(Spec):
    """Forward gradient (Baydin et al. 2022): an unbiased estimate along random directions, drawn anew each time.

    Any number of outer variables, memory independent of the inner steps. The series `hypergradient_variance` estimates
    E ||estimate - hypergradient||^2, which is about (number of outer variables / directions) ||hypergradient||^2.
    """

    kind: Literal["random_forward"] = "random_forward"
    directions: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Directions that the estimate is the mean of; time is proportional to their number."""
    law: Literal["rademacher", "gaussian"] = "rademacher"
    """Entries of a direction: `rademacher`, +1 or -1 (the smallest variance), or `gaussian`, standard normal."""
    chunk: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Directions that are pushed together; each further group runs the inner dynamics once more. By default all."""


class Implicit(Spec):
    """Implicit differentiation at the last iterate, by the stationarity of the inner objective."""

    kind: Literal["implicit"] = "implicit"
    solver: LinearSolver = Field(default_factory=ConjugateGradient, discriminator="kind")
    """How the linear system with the inner Hessian is solved."""
    damping: Annotated[float, Field(ge=0, le=1e4)] = 0.0
    """Added to the diagonal of the system, for one that is nearly singular; the residual is that of the damped one."""
    warm_start: bool = False
    """Whether the solver starts from the solution of the last hyperiteration instead of zeros."""
    warm_start_inner: bool = False
    """Whether the inner dynamics start from the last hyperiteration's inner variables instead of w_0; evaluations still
    start from w_0 and make all inner steps."""
    schedule: ToleranceSchedule | None = None
    """Tolerance eps_k of hyperiteration k, until it falls below the solver's own; by default that one always."""
    stop_inner: bool = False
    """With a `schedule`: the inner dynamics end early, at a multiple of ten steps where ||grad_w L|| <= eps_k. The
    series `inner_steps` counts them."""


class FirstOrder(Spec):
    """The inner steps are not differentiated: only E's own dependence on lam and, where w_0 is an outer variable, that.

    First-order MAML (Finn et al. 2017); the paper's `approx` (section 5.3). Biased, and the cheapest.
    """

    kind: Literal["first_order"] = "first_order"


class Reptile(Spec):
    """Mean over tasks of w_0 - w_T, which the outer optimizer takes for a gradient (Nichol et al. 2018).

    For the problem `initialization`. It is the gradient of no function; query sets have no part in it.
    """

    kind: Literal["reptile"] = "reptile"


class Exact(Spec):
    """Through the inner problem's closed form; the inner dynamics are not run."""

    kind: Literal["exact"] = "exact"


Hypergradient = Annotated[
    Unrolled | Reverse | Reversible | Forward | RandomForward | Implicit | Exact | FirstOrder | Reptile,
    Field(discriminator="kind"),
]
