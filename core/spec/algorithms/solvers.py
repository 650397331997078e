"""Linear solvers of implicit differentiation, and schedules of their tolerance."""

from typing import Annotated, Literal

from pydantic import Field

from core.spec.base import Rate, Spec


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
    iterations: Annotated[int, Field(ge=3, le=100_000)] = 100
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
