"""What is measured beside the hypergradient, how often, and from which values on it is worth a warning."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic_core import PydanticCustomError

from core.spec.algorithms import Algorithm, Exact, Hypergradient, Implicit, Joint, LineSearch, Nested, RealTime, Stepped
from core.spec.base import Spec, refuse
from core.spec.checks import check_algorithm, solution_only
from core.spec.learned_checks import check_measurable
from core.spec.multiclass_transfer import MulticlassTransfer
from core.spec.problems import Problem
from core.spec.stochastic import Stochastic

Period = Annotated[int, Field(ge=1, le=10_000_000)]
Bound = Annotated[float, Field(ge=0, le=1e6)]


class Stationarity(Spec):
    """Inner stationarity: series inner_gradient_relative, ||grad_w L|| at w_T over that at w_0."""

    every: Period | None = None
    """Measure at every n-th hyperiteration; by default never. Costs one gradient of the inner objective."""
    warn_above: Bound | None = 0.1
    """Warn where the ratio is larger; null: never."""


class Truncation(Spec):
    """Truncation error: series truncation_error, the relative difference to the hypergradient of other inner steps."""

    every: Period | None = None
    """Measure at every n-th hyperiteration; by default never. Costs two more hypergradients (`double`), or half of
    one (`half`)."""
    steps: Literal["double", "half"] = "double"
    """`double`: T steps against 2T, the error of T steps; `half`: T/2 steps against T, the error of T/2 steps."""
    warn_above: Bound | None = 0.1
    """Warn where the error is larger; null: never."""


class Comparison(Spec):
    """Comparison with another hypergradient: series comparison_cosine, and comparison_error, the relative norm of the
    difference."""

    every: Period | None = None
    """Measure at every n-th hyperiteration; by default never. Costs the other hypergradient."""
    against: Annotated[Hypergradient, Field(discriminator="kind")] | None = None
    """The other method; by default central differences along random directions. Of algorithms that draw minibatches:
    `implicit` (`cg`, `cg_normal` or `dense`) at their own w with all examples, or `exact`."""
    directions: Annotated[int, Field(ge=1, le=1000)] = 3
    """Directions of the central differences; each costs twice the inner steps."""
    warn_above: Bound | None = 0.1
    """Warn where the error is larger; null: never."""


class Contraction(Spec):
    """Contraction of the inner dynamics: series contraction_factor, the spectral radius of the last step's Jacobian
    with respect to the state (inner variables and, where the dynamics have them, velocity or moments)."""

    every: Period | None = None
    """Measure at every n-th hyperiteration; by default never. Costs `products` vector-Jacobian products."""
    products: Annotated[int, Field(ge=1, le=1000)] = 30
    """Products of Arnoldi's method, which keeps as many states; more of them make the estimate better."""
    warn_above: Bound | None = 1.001
    """Warn where the factor is larger, by default than 1 and what rounding may add to it; null: never."""


class Direction(Spec):
    """Change of direction: series direction_cosine, between the hypergradient and the one before it."""

    every: Period | None = None
    """Measure at every n-th hyperiteration; by default never. Costs the memory of one hypergradient."""
    warn_below: Annotated[float, Field(ge=-1, le=1)] | None = -0.5
    """Warn where the cosine is smaller, as when the outer steps are too long; null: never."""


class Solver(Spec):
    """The linear solver of implicit differentiation: series solver_residual, which is measured always."""

    warn_above: Bound | None = 0.1
    """Warn where the relative residual is larger; null: never."""


class Diagnostics(Spec):
    """Measurements beside the hypergradient, which change nothing of the optimization.

    Each gives series, a line in the result and, when its threshold is crossed, an event `warning`.
    """

    stationarity: Stationarity = Field(default_factory=Stationarity)
    """How close w_T is to a stationary point of the inner objective."""
    truncation: Truncation = Field(default_factory=Truncation)
    """What more inner steps would change in the hypergradient."""
    comparison: Comparison = Field(default_factory=Comparison)
    """How far another way to the hypergradient agrees."""
    contraction: Contraction = Field(default_factory=Contraction)
    """Whether the inner dynamics contract at w_T."""
    direction: Direction = Field(default_factory=Direction)
    """How the hypergradient turns from one hyperiteration to the next."""
    solver: Solver = Field(default_factory=Solver)
    """How well the linear system of implicit differentiation is solved."""


MEASURED = ("stationarity", "truncation", "comparison", "contraction", "direction")
"""Sections that are measured when asked for by `every`."""
OF_INNER_VARIABLES = ("stationarity", "truncation", "contraction")
"""Of these, the ones that say something about the inner problem."""


def measured_sections(diagnostics: Diagnostics) -> list[str]:
    """The sections that are measured."""
    return [section for section in MEASURED if getattr(diagnostics, section).every is not None]


def check_diagnostics(problem: Problem, algorithm: Algorithm, diagnostics: Diagnostics) -> None:
    """Refuses measurements that the algorithm gives no occasion for; says which field and what to change."""
    measured = measured_sections(diagnostics)
    if not measured:
        return
    if isinstance(algorithm, Joint):
        refuse(
            f"/diagnostics/{measured[0]}/every",
            "`joint` takes no hypergradient that could be measured: leave `every` out, or use `nested`",
        )
    check_measurable(problem, measured)
    for section in measured:
        if isinstance(problem, MulticlassTransfer) and section in OF_INNER_VARIABLES:
            refuse(
                f"/diagnostics/{section}/every",
                f"{problem.kind} has no inner variables while it is trained, and nothing to measure of them: leave "
                "`every` out",
            )
        if (reason := _meaningless(section, algorithm)) is not None:
            refuse(f"/diagnostics/{section}/every", f"{reason}: leave `every` out, or use the algorithm `nested`")
        _check_section(section, algorithm)
    if isinstance(algorithm, Nested) and "truncation" in measured:
        _check_truncation(algorithm, diagnostics.truncation)
    if "comparison" in measured:
        _check_comparison(problem, algorithm, diagnostics.comparison.against)


def _meaningless(section: str, algorithm: Algorithm) -> str | None:
    """Why a measurement says nothing of this algorithm; None where it does."""
    match section, algorithm:
        case "truncation", RealTime():
            return "`real_time` makes no T inner steps from w_0 that could be doubled: its `interval` goes on and on"
        case "comparison", RealTime():
            return (
                "the hypergradient of `real_time` is its own: it holds terms of earlier outer variables, or of the "
                "last interval alone, and no other method has the same ones"
            )
        case "truncation", Stochastic():
            return f"`{algorithm.kind}` makes no T inner steps from w_0 that could be doubled"
        case "contraction", Stochastic():
            return f"`{algorithm.kind}` has no inner dynamics whose Jacobian the factor could be of"
        case _:
            return None


def _check_section(section: str, algorithm: Algorithm) -> None:
    if not isinstance(algorithm, Stepped):
        return
    field = f"/diagnostics/{section}/every"
    if section in ("truncation", "contraction") and isinstance(algorithm.hypergradient, Exact):
        refuse(field, "`exact` does not run the inner dynamics: leave `every` out, or use `reverse` or `implicit`")
    if section == "contraction" and isinstance(algorithm.dynamics, LineSearch):
        refuse(field, "steps of a line search have no derivative: leave `every` out, or use `gradient_descent`")


def _check_truncation(algorithm: Nested, truncation: Truncation) -> None:
    if isinstance(algorithm.hypergradient, Implicit) and algorithm.hypergradient.stop_inner:
        refuse(
            "/diagnostics/truncation/every",
            "with `stop_inner` the inner run ends where its tolerance is met, after 2T steps as after T: leave one of "
            "both out, or measure the `comparison` against another method",
        )
    if truncation.steps == "half" and algorithm.steps < 2:
        refuse("/diagnostics/truncation/steps", "there is no half of one inner step: use `double`")


def _check_comparison(problem: Problem, algorithm: Algorithm, reference: Hypergradient | None) -> None:
    """The other method has to be possible here too."""
    field = "/diagnostics/comparison/against"
    if isinstance(algorithm, Stochastic):
        if reference is None:
            refuse(field, f"`{algorithm.kind}` has no f_T to take central differences of: give `implicit` or `exact`")
        if not solution_only(reference):
            refuse(
                field,
                f"`{algorithm.kind}` has no inner dynamics to differentiate: give `implicit` with the solver `cg`, "
                "`cg_normal` or `dense`, or `exact`",
            )
    if reference is None:
        if isinstance(algorithm, Nested) and getattr(algorithm.hypergradient, "warm_start_inner", False):
            refuse(
                field,
                "central differences are of T steps from w_0, and `warm_start_inner` goes on from the last "
                "hyperiteration: give `exact` or `implicit`",
            )
        return
    own = Nested() if isinstance(algorithm, Stochastic) else algorithm
    try:
        check_algorithm(problem, own.model_copy(update={"hypergradient": reference}))
    except PydanticCustomError as error:
        detail = (error.context or {})["detail"]
        refuse(field, f"`{reference.kind}` is not possible here: {detail}")
