"""What implicit differentiation cannot do from one hyperiteration to the next, or with a solver."""

from core.spec.algorithms import (
    ConjugateGradient,
    ConjugateGradientNormal,
    Dense,
    FixedPoint,
    Implicit,
    Stepped,
    StochasticDescent,
)
from core.spec.base import refuse
from core.spec.problems import HyperRepresentation, Initialization, Problem
from core.spec.sizes import minibatch_examples

FIELD = "/algorithm/hypergradient"


def check_solver(problem: Problem, algorithm: Stepped, implicit: Implicit, *, linear: bool) -> None:
    """Refuses a solver that lacks what it works on; `linear`: the inner problem is an analytic linear model."""
    solver = implicit.solver
    if isinstance(solver, StochasticDescent) and minibatch_examples(problem) is None:
        refuse(
            f"{FIELD}/solver",
            f"`stochastic` takes Hessians of minibatches, and {problem.kind} has none of its inner objective: use `cg`",
        )
    if isinstance(solver, StochasticDescent) and algorithm.dynamics.batch is None:
        refuse(
            f"{FIELD}/solver",
            "`stochastic` takes Hessians of minibatches: give `batch` of the dynamics, or use `cg`",
        )
    if not isinstance(solver, ConjugateGradient) or not solver.mixed_precision:
        return
    if not linear:
        refuse(
            f"{FIELD}/solver/mixed_precision",
            "only linear models have Hessian products in both precisions: leave `mixed_precision` out",
        )
    if solver.preconditioner == "none":
        refuse(
            f"{FIELD}/solver/preconditioner",
            "the iterations in float32 are preconditioned: leave `preconditioner` or `mixed_precision` out",
        )


def check_series(problem: Problem, implicit: Implicit) -> None:
    """Refuses warm starts and tolerance schedules that would start from nothing or fall to nothing."""
    warm = [name for name in ("warm_start", "warm_start_inner") if getattr(implicit, name)]
    if warm and isinstance(problem, HyperRepresentation | Initialization):
        refuse(
            f"{FIELD}/{warm[0]}",
            f"{problem.kind} draws new tasks at every hyperiteration, and the last ones' inner variables say nothing "
            f"about them: leave `{warm[0]}` out",
        )
    if implicit.warm_start and isinstance(implicit.solver, Dense):
        refuse(f"{FIELD}/warm_start", "`dense` starts from nothing: leave `warm_start` out, or use `cg`")
    if implicit.schedule is not None and not isinstance(
        implicit.solver, ConjugateGradient | ConjugateGradientNormal | FixedPoint
    ):
        refuse(
            f"{FIELD}/schedule",
            f"`{implicit.solver.kind}` has no tolerance: leave `schedule` out, or use `cg` or `fixed_point`",
        )
    if implicit.stop_inner and implicit.schedule is None:
        refuse(f"{FIELD}/stop_inner", "the tolerance to stop at comes from a `schedule`: give one, or leave it out")
