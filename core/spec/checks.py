"""Combinations that cannot be, refused before anything is stored; each says which field and what to change."""

from core.spec.algorithms import (
    Algorithm,
    Dense,
    Dynamics,
    Exact,
    FirstOrder,
    FixedPoint,
    Forward,
    HeavyBall,
    Hypergradient,
    Implicit,
    Joint,
    LineSearch,
    Neumann,
    RandomForward,
    RealTime,
    Reptile,
    Reverse,
    Reversible,
    Stepped,
)
from core.spec.base import refuse
from core.spec.few_shot_checks import check_heads, check_joint, check_transfer
from core.spec.fold_checks import check_folds
from core.spec.implicit_checks import check_series, check_solver
from core.spec.initialization_checks import check_initialization
from core.spec.learned_checks import check_own_dynamics
from core.spec.learned_problems import LearnedData
from core.spec.models import Linear
from core.spec.problem_checks import analytic, closed_form, has_finite_sum, squares, strongly_convex
from core.spec.problems import HyperCleaning, HyperRepresentation, Initialization, Problem, Quadratic, Regularization
from core.spec.sizes import inner_variables, minibatch_examples, outer_variables
from core.spec.stochastic import AnyStochastic, Stochastic

FORWARD_LIMIT = 2000
"""Tangents that forward mode may push together: its memory is proportional to their number."""
SMALLEST_MOMENTUM = 1e-6
"""Of `reversible`, which keeps log2(1 / momentum) bits per step and inner variable."""
PER_STEP = {"rate_per_step": "learn_rate", "momentum_per_step": "learn_momentum"}
"""Numbers of which every inner step has its own -> what makes outer variables of them."""
DENSE_LIMIT = 5000
"""Inner variables up to which the whole inner Hessian is formed."""


def check_algorithm(problem: Problem, algorithm: Algorithm) -> None:
    """Refuses an algorithm that does not fit the problem, or whose parts do not fit each other."""
    check_folds(problem, algorithm)
    if isinstance(algorithm, Stochastic):
        check_finite_sum(problem, algorithm)
        return
    if isinstance(algorithm, Joint):
        check_joint(problem, algorithm)
        return
    check_heads(problem, algorithm)
    check_transfer(problem, algorithm)
    check_own_dynamics(problem, algorithm)
    if isinstance(algorithm, RealTime):
        _check_real_time(problem, algorithm)
    match algorithm.hypergradient:
        case Exact() if not closed_form(problem):
            refuse(
                "/algorithm/hypergradient",
                f"`exact` needs an inner problem with a closed form, which {problem.kind} does not have with "
                f"these settings: use {_instead_of_exact(problem)}",
            )
        case FirstOrder() if not _has_direct_term(problem):
            refuse(
                "/algorithm/hypergradient",
                f"`first_order` is zero here: the outer objective of {problem.kind} sees the outer variables through "
                "the inner steps only: use `reverse`",
            )
        case Forward() | RandomForward() as forward:
            _check_forward(forward, outer_variables(problem, algorithm))
        case Reverse() as reverse:
            _check_reverse(reverse, algorithm.steps)
        case Reversible():
            _check_reversible(algorithm.dynamics)
        case Implicit() as implicit:
            _check_implicit(problem, implicit)
            check_solver(problem, algorithm, implicit, linear=analytic(problem))
            check_series(problem, implicit)
    check_initialization(problem, algorithm)
    _check_dynamics(problem, algorithm)


def _has_direct_term(problem: Problem) -> bool:
    """Whether the outer objective sees the outer variables other than through the inner steps."""
    if isinstance(problem, Quadratic):
        return problem.damping > 0
    return not isinstance(problem, Regularization | HyperCleaning | LearnedData)


def _instead_of_exact(problem: Problem) -> str:
    match problem:
        case HyperRepresentation():
            return "the heads `ridge` or `prototypes`, or `reverse`"
        case Initialization():
            return "`reverse`"
        case _:
            return "`reverse` or `implicit`"


def check_finite_sum(problem: Problem, algorithm: AnyStochastic) -> None:
    """Refuses an algorithm that draws minibatches of both objectives where there are none."""
    if not has_finite_sum(problem):
        refuse(
            "/algorithm/kind",
            f"`{algorithm.kind}` needs objectives that are means over the same examples at every hyperiteration, which "
            f"{problem.kind} does not have: use `nested`, or the problem `random_quadratics`, `regularization`, "
            "`hyper_cleaning` or `learned_data`",
        )
    if isinstance(problem, LearnedData) and problem.outer_batch is not None:
        refuse(
            "/problem/outer_batch",
            f"`{algorithm.kind}` draws minibatches of its own: leave it out, and set the algorithm's `batch`",
        )


def _check_real_time(problem: Problem, algorithm: RealTime) -> None:
    if isinstance(problem, HyperRepresentation | Initialization):
        refuse(
            "/algorithm/kind",
            f"`real_time` goes on with the inner variables of the last hyperiteration, and {problem.kind} draws new "
            "tasks for each: use `nested`",
        )
    if isinstance(algorithm.hypergradient, Forward) and algorithm.hypergradient.chunk is not None:
        refuse(
            "/algorithm/hypergradient/chunk",
            "tangents that go on from one interval to the next are all there at once: leave `chunk` out, or use "
            "`reverse`",
        )
    for name in PER_STEP:
        if getattr(algorithm.dynamics, name, False):
            refuse(
                f"/algorithm/dynamics/{name}",
                "an inner run in real time sees every step once, too late to learn from it: leave it out",
            )


def _check_forward(forward: Forward | RandomForward, variables: int) -> None:
    count = forward.directions if isinstance(forward, RandomForward) else variables
    if min(count, forward.chunk or count) <= FORWARD_LIMIT:
        return
    if forward.chunk is not None:
        refuse("/algorithm/hypergradient/chunk", f"at most {FORWARD_LIMIT} tangents are pushed together: lower `chunk`")
    if isinstance(forward, RandomForward):
        refuse(
            "/algorithm/hypergradient/directions",
            f"{count} directions would be pushed together (at most {FORWARD_LIMIT}): give a `chunk`",
        )
    refuse(
        "/algorithm/hypergradient",
        f"`forward` would push one tangent for each of the {count} outer variables together (at most {FORWARD_LIMIT}): "
        "use `reverse` or `random_forward`, or give a `chunk`, which bounds the memory but not the time",
    )


def _check_reverse(reverse: Reverse, steps: int) -> None:
    if reverse.truncate is not None and reverse.truncate > steps:
        refuse(
            "/algorithm/hypergradient/truncate",
            f"cannot go back {reverse.truncate} steps of {steps}: lower `truncate` or leave it out",
        )
    if isinstance(reverse.segment, int) and reverse.segment > steps:
        refuse(
            "/algorithm/hypergradient/segment",
            f"a segment of {reverse.segment} is longer than the {steps} inner steps: lower `segment`",
        )
    if reverse.segment is not None and reverse.truncate is not None:
        refuse(
            "/algorithm/hypergradient/segment",
            "a truncated reverse pass keeps its last iterates only: leave out `segment` or `truncate`",
        )
    _check_snapshots(reverse, steps)


def _check_snapshots(reverse: Reverse, steps: int) -> None:
    field = "/algorithm/hypergradient/snapshots"
    if reverse.snapshots is None:
        return
    if reverse.snapshots > steps:
        refuse(field, f"{reverse.snapshots} snapshots of {steps} inner steps: lower `snapshots` or leave it out")
    if reverse.segment is not None:
        refuse(field, "segments and snapshots are two schedules: leave out `segment` or `snapshots`")
    if reverse.truncate is not None:
        refuse(field, "a truncated reverse pass keeps its last iterates only: leave out `snapshots` or `truncate`")


def _check_reversible(dynamics: Dynamics) -> None:
    if not isinstance(dynamics, HeavyBall):
        refuse(
            "/algorithm/dynamics",
            f"`reversible` undoes steps of heavy ball, and those of {dynamics.kind} cannot be undone: use the dynamics "
            "`heavy_ball`, or the hypergradient `reverse` with `snapshots`",
        )
    if dynamics.momentum < SMALLEST_MOMENTUM:
        refuse(
            "/algorithm/dynamics/momentum",
            "a momentum of 0 forgets the velocity, which `reversible` would have to keep whole: raise it to at least "
            f"{SMALLEST_MOMENTUM}, or use the hypergradient `reverse` with `snapshots`",
        )


def _check_implicit(problem: Problem, implicit: Implicit) -> None:
    if isinstance(implicit.solver, Dense) and (count := inner_variables(problem)) > DENSE_LIMIT:
        refuse(
            "/algorithm/hypergradient/solver",
            f"`dense` factors the Hessian of all {count} inner variables (at most {DENSE_LIMIT}): use `cg`",
        )
    if isinstance(implicit.solver, Dense) and _singular(problem) and implicit.damping == 0:
        refuse(
            "/algorithm/hypergradient/solver",
            "`dense` cannot factor this Hessian: softmax offsets are not regularized, and adding a number to all of "
            "them changes nothing: use `cg`, a linear model with `bias` false, or `damping` above 0",
        )
    if isinstance(problem, HyperRepresentation | HyperCleaning | LearnedData) and not strongly_convex(problem):
        refuse(
            "/problem/l2",
            "implicit differentiation needs an inner problem with one minimizer: give `l2` above zero, "
            "or use `reverse`",
        )


def _singular(problem: Problem) -> bool:
    """Whether the inner Hessian has the eigenvalue 0 everywhere."""
    if not isinstance(problem, Regularization) or squares(problem):
        return False
    return not isinstance(problem.model, Linear) or problem.model.bias


def solution_only(hypergradient: Hypergradient) -> bool:
    """Whether no step of the dynamics is differentiated."""
    if isinstance(hypergradient, Implicit):
        return not isinstance(hypergradient.solver, Neumann | FixedPoint)
    return isinstance(hypergradient, Exact)


def _check_dynamics(problem: Problem, algorithm: Stepped) -> None:
    dynamics = algorithm.dynamics
    learned = dynamics.learned()
    if learned and isinstance(algorithm.hypergradient, FirstOrder):
        refuse(
            f"/algorithm/dynamics/{learned[0]}",
            "`first_order` does not differentiate the inner steps, which the dynamics' own outer variables are in: use "
            "`reverse` or `forward` to learn them",
        )
    if learned and isinstance(algorithm.hypergradient, Implicit | Exact):
        refuse(
            f"/algorithm/dynamics/{learned[0]}",
            f"`{algorithm.hypergradient.kind}` differentiates the solution, which does not depend on how it was "
            "reached: use `reverse` or `forward` to learn the dynamics",
        )
    for name, learning in PER_STEP.items():
        if getattr(dynamics, name, False) and learning not in learned:
            refuse(f"/algorithm/dynamics/{name}", f"none of them is learned: set `{learning}` too, or leave it out")
    forward_only = isinstance(algorithm.hypergradient, FirstOrder | Reptile)
    if isinstance(dynamics, LineSearch) and not (forward_only or solution_only(algorithm.hypergradient)):
        refuse(
            "/algorithm/dynamics",
            "`line_search` cannot be differentiated, for the chosen step size jumps: use the hypergradient `implicit` "
            "with the solver `cg`, `cg_normal` or `dense`, or the dynamics `gradient_descent`",
        )
    if "learn_momentum" in learned and getattr(dynamics, "momentum", 0.0) == 0:
        refuse("/algorithm/dynamics/momentum", "a momentum of 0 cannot be learned by its logit: start above 0")
    if dynamics.batch is None:
        return
    examples = minibatch_examples(problem)
    if examples is None:
        refuse(
            "/algorithm/dynamics/batch",
            f"{problem.kind} has no minibatches of its inner objective: leave `batch` out",
        )
    if dynamics.batch > examples:
        refuse(
            "/algorithm/dynamics/batch",
            f"a minibatch of {dynamics.batch} is larger than the training set ({examples}): lower `batch`",
        )
