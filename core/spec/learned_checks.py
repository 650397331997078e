"""What a learned optimizer cannot be combined with: its steps are the problem's own, and they end nowhere."""

from collections.abc import Collection

from core.spec.algorithms import Exact, FirstOrder, GradientDescent, Implicit, RealTime, Reversible, Stepped
from core.spec.base import refuse
from core.spec.learned_problems import LearnedOptimizer
from core.spec.problems import Problem

FIELD = "/algorithm/hypergradient"


def check_own_dynamics(problem: Problem, algorithm: Stepped) -> None:
    """Refuses, for a learned optimizer, other dynamics and methods that know nothing of how w_T was reached."""
    if not isinstance(problem, LearnedOptimizer):
        return
    if isinstance(algorithm, RealTime):
        refuse(
            "/algorithm/kind",
            f"`real_time` goes on with the inner variables for ever, and {problem.kind} draws new tasks: use `nested`, "
            "and `unrolls` of the problem for hyperiterations that go on",
        )
    if algorithm.dynamics != GradientDescent():
        refuse(
            "/algorithm/dynamics",
            f"the inner steps of {problem.kind} are those of its own `optimizer`: leave `dynamics` out",
        )
    trained = algorithm.steps * problem.unrolls
    if problem.horizon is not None and problem.horizon <= trained:
        refuse(
            "/problem/horizon",
            f"the longer test is no longer than the {trained} steps that a task is trained for: raise `horizon` or "
            "leave it out",
        )
    match algorithm.hypergradient:
        case Implicit() | Exact() as chosen:
            refuse(
                FIELD,
                f"`{chosen.kind}` differentiates the minimizers of the tasks, which no optimizer moves: use `reverse`",
            )
        case FirstOrder():
            refuse(
                FIELD,
                "`first_order` leaves out the inner steps, which are all that the outer variables are in: use "
                "`reverse`; the gradients that the network sees are left out by `second_order` false",
            )
        case Reversible():
            refuse(FIELD, "`reversible` undoes steps of heavy ball, not those of a network: use `reverse`")


def check_measurable(problem: Problem, asked: Collection[str]) -> None:
    """Refuses measurements of how well inner steps converge, where they are not meant to."""
    if not isinstance(problem, LearnedOptimizer):
        return
    reasons = {
        "truncation": "E is the mean loss of T steps, and other steps make another E rather than a better one",
        "contraction": "the state holds a sum of losses and the network's memory, which do not contract",
    }
    for section, reason in reasons.items():
        if section in asked:
            refuse(f"/diagnostics/{section}/every", f"{reason}: leave `every` out")
