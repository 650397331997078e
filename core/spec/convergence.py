"""Assumption (vi) of the convergence theorem, and whether it is f_T whose gradient the outer steps follow."""

from typing import assert_never

from core.spec.algorithms import (
    AdamW,
    Exact,
    FirstOrder,
    GradientDescent,
    HeavyBall,
    Implicit,
    Nested,
    Nesterov,
    RandomForward,
    Reptile,
    Reverse,
)
from core.spec.experiment import Experiment
from core.spec.heads import PrototypeHeads
from core.spec.learned_problems import LearnedOptimizer
from core.spec.minimizers import unique
from core.spec.models import Linear
from core.spec.multiclass_transfer import MulticlassTransfer
from core.spec.problems import (
    HyperCleaning,
    HyperRepresentation,
    Problem,
    Quadratic,
)
from core.spec.sizes import minibatch_examples, training_sets
from core.spec.verdicts import Verdict, met, not_met


def convergence(spec: Experiment) -> Verdict:
    """(vi) The inner dynamics converge to the minimizer, uniformly on Lambda."""
    algorithm = spec.algorithm
    if not isinstance(algorithm, Nested):
        return not_met(
            f"`{algorithm.kind}` does not minimize f_T: it keeps w from one hyperiteration to the next, of which the "
            "theorem says nothing."
        )
    if isinstance(spec.problem, LearnedOptimizer):
        return not_met(
            "The steps of a network need not converge, and E is of the losses on the way rather than of where they "
            "end: the theorem says nothing of it."
        )
    if (single := unique(spec.problem).status) == "not met":
        return not_met("There is no single minimizer to converge to.")
    if isinstance(spec.problem, MulticlassTransfer):
        return met("There are no inner variables: every step ends where it began.")
    if isinstance(algorithm.hypergradient, Exact):
        return met("`exact` takes the minimizer itself.")
    if _minibatches(spec.problem, algorithm):
        return not_met("With minibatches and a constant rate w_T stays at a distance from the minimizer.")
    found = _admissible(spec.problem, algorithm)
    if learned(spec):
        found = Verdict("measured", "Rate or momentum are outer variables: whether the steps converge depends on them.")
    if single == "not known" and found.status == "measured":
        return Verdict("measured", f"{found.reason} Whether it is a single minimizer that they come to is not known.")
    return found


def follows(spec: Experiment) -> Verdict:
    """Whether the hypergradient is that of f_T."""
    problem, algorithm = spec.problem, spec.algorithm
    if isinstance(problem, MulticlassTransfer):
        return met("Without inner variables f_T = f = E, and every hypergradient is the gradient of E.")
    if not isinstance(algorithm, Nested):
        return not_met(f"`{algorithm.kind}` has no f_T: it goes on from the w of the last hyperiteration.")
    if isinstance(problem, LearnedOptimizer) and problem.unrolls > 1:
        return not_met("With `unrolls` above 1 each of them takes the state that it starts from for given: truncated.")
    if isinstance(problem, LearnedOptimizer) and not problem.second_order:
        return not_met(
            "The gradients that the network sees are not differentiated, as in the paper: set `second_order` for the "
            "whole hypergradient."
        )
    match algorithm.hypergradient:
        case Implicit():
            return not_met(
                "`implicit` takes w_T for the minimizer: it is the gradient of f but for the errors of w_T and of the "
                "linear system, and not that of f_T."
            )
        case Reverse(truncate=int(last)) if last < algorithm.steps:
            return not_met(
                f"Truncated to the last {last} of {algorithm.steps} steps it is biased (Shaban et al. 2019): leave "
                "`truncate` out."
            )
        case FirstOrder():
            return not_met("`first_order` leaves out what the inner steps do to w_T: use `reverse`.")
        case Reptile():
            return not_met("`reptile` is a direction and the gradient of no function: use `reverse`.")
        case Exact():
            return met("`exact` is the gradient of f itself.")
        case RandomForward():
            return met("The estimate is that of f_T on average.")
        case _:
            return met("It is that of f_T, to round-off.")


def learned(spec: Experiment) -> bool:
    """Whether rate or momentum of the dynamics are outer variables."""
    dynamics = getattr(spec.algorithm, "dynamics", None)
    return dynamics is not None and bool(dynamics.learned())


def _minibatches(problem: Problem, algorithm: Nested) -> bool:
    batch, examples = algorithm.dynamics.batch, minibatch_examples(problem)
    return batch is not None and examples is not None and batch < examples


def _admissible(problem: Problem, algorithm: Nested) -> Verdict:
    """Linear and uniform convergence where the rate is below a bound that the spec gives."""
    dynamics = algorithm.dynamics
    if isinstance(problem, Quadratic) and isinstance(dynamics, GradientDescent | HeavyBall | Nesterov):
        bound = _stable(dynamics)
        if dynamics.rate < bound:
            return met(f"Linear dynamics with a rate below {bound:.4g}: they contract by the same factor for all lam.")
        return not_met(f"The rate is not below {bound:.4g}: the inner dynamics do not converge.")
    if isinstance(problem, HyperRepresentation) and isinstance(problem.heads, PrototypeHeads):
        fewest = problem.way_from or training_sets(problem).way
        bound = fewest * _stable(dynamics) if isinstance(dynamics, GradientDescent | HeavyBall | Nesterov) else 0
        if dynamics.rate < bound:
            return met(
                f"Linear dynamics of curvature 1/{fewest} at most, with a rate below {bound:.4g}: the same for all lam."
            )
    if isinstance(problem, HyperCleaning) and problem.standardize and isinstance(problem.model, Linear):
        # Standardized features: the mean of ||(x, 1)||^2 is at most d + 1; weights <= 1; a softmax curves by 1/2.
        largest = problem.l2 + (problem.dataset.features + problem.model.bias) / 2
        if isinstance(dynamics, GradientDescent) and dynamics.rate < 2 / largest:
            return met(
                f"Gradient descent with curvature between l2 = {problem.l2:.3g} and {largest:.4g} for all weights, "
                "and a rate below 2 over the largest."
            )
    if isinstance(dynamics, GradientDescent | HeavyBall | Nesterov):
        return Verdict(
            "measured",
            "The steps converge where the rate is small enough for the curvature of L, which depends on data and "
            "outer variables.",
        )
    if isinstance(dynamics, AdamW) and dynamics.decay > 0:
        return not_met("The `decay` of `adamw` holds w at another point than the minimizer of L: use `adam`.")
    return Verdict("measured", f"`{dynamics.kind}` converges on some problems of this kind and not on others.")


def _stable(dynamics: GradientDescent | HeavyBall | Nesterov) -> float:
    """The rate below which the iteration is stable for curvatures in (0, 1]."""
    match dynamics:
        case GradientDescent():
            return 2.0
        case HeavyBall():
            return 2 * (1 + dynamics.momentum)
        case Nesterov():
            return 2 * (1 + dynamics.momentum) / (1 + 2 * dynamics.momentum)
        case _:
            assert_never(dynamics)
