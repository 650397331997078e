"""How a problem is solved: inner dynamics, hypergradient, outer optimizer, algorithm."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from core.spec.base import Count, Momentum, Rate, Spec
from core.spec.stochastic import AnyStochastic, name_the_kind

# --- inner dynamics -------------------------------------------------------------------------------


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


class GradientDescent(InnerDynamics):
    """w_t = w_{t-1} - eta grad L(w_{t-1})."""

    kind: Literal["gradient_descent"] = "gradient_descent"
    rate_per_parameter: bool = False
    """With `learn_rate`, for the problem `initialization`: a rate alpha for each inner variable of a task, all `rate`
    at the start, w_t = w_{t-1} - alpha o grad L (Meta-SGD, Li et al. 2017). The outer variables are the alpha
    themselves, which may become negative."""


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

    For hypergradients that do not differentiate the steps: `implicit` with `cg` or `dense`.
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

# --- linear solvers of implicit differentiation ---------------------------------------------------


class ConjugateGradient(Spec):
    """Conjugate gradient on the inner Hessian."""

    kind: Literal["cg"] = "cg"
    iterations: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Largest number of Hessian products; one more measures the residual."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 1e-6
    """Relative residual at which it stops."""
    preconditioner: Literal["auto", "none"] = "auto"
    """`auto`: where the inner problem is a linear model, analytic Hessian products and one Cholesky factor of the mean
    curvature of its classes, which takes far fewer products to the same residual; elsewhere none. `none`: none."""
    mixed_precision: bool = False
    """For linear models: iterate in float32 and correct in the experiment's precision, in rounds that `iterations`
    bounds each; faster with `precision: float64`, and as exact."""


class ConjugateGradientNormal(Spec):
    """Conjugate gradient on the normal equations of the inner Hessian: for one that is not positive definite.

    Where it is, `cg` needs far fewer products: here the condition number is squared.
    """

    kind: Literal["cg_normal"] = "cg_normal"
    iterations: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Largest number of Hessian products, of which an iteration takes two; one more measures the residual."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 1e-6
    """Relative residual at which it stops."""


class Neumann(Spec):
    """Neumann series of the dynamics' Jacobian, truncated (Lorraine et al. 2020)."""

    kind: Literal["neumann"] = "neumann"
    iterations: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Terms of the series; one more product measures the residual."""


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


class StochasticDescent(Spec):
    """v = v - rate (H_j v - grad_w E) with the Hessian H_j of minibatch j; the mean of the last half of the iterates.

    As in stocBiO (Ji et al. 2021) and AmIGO (Arbel and Mairal 2022). The minibatches have the size `batch` of the
    dynamics and are drawn by (seed, hyperiteration, j).
    """

    kind: Literal["stochastic"] = "stochastic"
    iterations: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Hessian products on a minibatch; one on all examples measures the residual."""
    rate: Rate = 0.1
    """Step size; it converges below 2 over the largest eigenvalue of a minibatch's Hessian."""


LinearSolver = Annotated[
    ConjugateGradient | ConjugateGradientNormal | Neumann | FixedPoint | Dense | StochasticDescent,
    Field(discriminator="kind"),
]

# --- tolerance schedules of implicit differentiation ----------------------------------------------


class ExponentialSchedule(Spec):
    """eps_k = initial decay^k (HOAG, Pedregosa 2016)."""

    kind: Literal["exponential"] = "exponential"
    initial: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Tolerance at hyperiteration 0."""
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Factor from one hyperiteration to the next."""


class PolynomialSchedule(Spec):
    """eps_k = initial / (k + 1)^power; with a power above 1 its sum is finite, as HOAG's convergence needs."""

    kind: Literal["polynomial"] = "polynomial"
    initial: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Tolerance at hyperiteration 0."""
    power: Annotated[float, Field(gt=1, le=10)] = 2.0
    """How fast it falls: 2 and 3 are HOAG's."""


ToleranceSchedule = Annotated[ExponentialSchedule | PolynomialSchedule, Field(discriminator="kind")]

# --- hypergradients -------------------------------------------------------------------------------


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

# --- outer optimizers -----------------------------------------------------------------------------


class OuterOptimizer(Spec):
    """Fields that all outer optimizers have."""

    rate: Rate = 0.01
    """Outer step size at hyperiteration 0."""
    decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Inverse-time decay: the step size at hyperiteration k is rate / (1 + decay k)."""
    cosine: bool = False
    """Whether it falls to 0 at the last hyperiteration besides: times (1 + cos(pi k / hyperiterations)) / 2."""


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
