"""Combinations that cannot be, refused before anything is stored; each says which field and what to change."""

from core.spec.algorithms import Algorithm, Dense, Exact, Forward, Implicit, Reverse
from core.spec.base import refuse
from core.spec.models import Linear
from core.spec.problems import HyperCleaning, HyperRepresentation, Problem, Quadratic, Regularization
from core.spec.sizes import (
    inner_variables,
    outer_variables,
    test_examples,
    training_examples,
    validation_examples,
)

FORWARD_LIMIT = 2000
"""Outer variables up to which forward mode is allowed: its time and memory are proportional to their number."""
DENSE_LIMIT = 5000
"""Inner variables up to which the whole inner Hessian is formed."""


def check_problem(problem: Problem) -> None:
    """Refuses a problem that its data cannot serve."""
    if isinstance(problem, HyperRepresentation):
        _check_episodes(problem)
    elif isinstance(problem, Regularization | HyperCleaning):
        _check_split(problem)
        if isinstance(problem, Regularization):
            _check_regularization(problem)
        else:
            _check_cleaning(problem)


def _check_episodes(problem: HyperRepresentation) -> None:
    classes = min(problem.dataset.class_counts())
    if problem.way > classes:
        refuse(
            "/problem/way",
            f"{problem.way} ways, but the smallest meta-set has {classes} classes: lower `way`",
        )
    images = problem.dataset.images_per_class
    if problem.shot + problem.query > images:
        refuse(
            "/problem/query",
            f"shot + query = {problem.shot + problem.query}, but a class has {images} images and the support and "
            f"query sets are disjoint: lower `query` to at most {max(images - problem.shot, 0)}",
        )


def _check_split(problem: Regularization | HyperCleaning) -> None:
    dataset = problem.dataset
    train, validation = training_examples(problem), validation_examples(problem)
    rest = dataset.examples - train - validation
    if rest < 0:
        refuse(
            "/problem/train",
            f"train + validation = {train + validation}, but {dataset.kind} has {dataset.examples} examples: "
            "lower `train` or `validation`",
        )
    available = dataset.test_examples or rest
    if available < max(test_examples(problem), 1):
        refuse(
            "/problem/test",
            f"{problem.test or 1} test examples, but {available} are left: lower `test`, `train` or `validation`",
        )


def _check_regularization(problem: Regularization) -> None:
    if min(training_examples(problem), validation_examples(problem)) < 2:
        refuse("/problem/train", "one example has no spread to standardize by: raise `train` or `validation` to 2")
    if problem.loss == "cross_entropy" and not problem.dataset.classes:
        refuse("/problem/loss", f"{problem.dataset.kind} has a number as target: use the loss `squared`")
    if problem.strength == "feature" and not isinstance(problem.model, Linear):
        refuse(
            "/problem/strength",
            "one strength a feature needs the model `linear`: use it, or `layer` or `global`",
        )


def _check_cleaning(problem: HyperCleaning) -> None:
    if not problem.dataset.classes:
        refuse(
            "/problem/dataset",
            f"{problem.dataset.kind} has no labels to clean: choose a data set with classes",
        )
    if round(problem.corruption * problem.train) >= problem.train:
        refuse("/problem/corruption", "every training label would be corrupted: lower `corruption`")


def squares(problem: Regularization) -> bool:
    """Whether the loss is the squared one; `auto` takes it where the target is a number."""
    return problem.loss == "squared" or (problem.loss == "auto" and not problem.dataset.classes)


def closed_form(problem: Problem) -> bool:
    """Whether the inner problem has a solution in closed form."""
    if isinstance(problem, Regularization):
        return squares(problem) and isinstance(problem.model, Linear)
    return isinstance(problem, Quadratic)


def check_algorithm(problem: Problem, algorithm: Algorithm) -> None:
    """Refuses an algorithm that does not fit the problem, or whose parts do not fit each other."""
    match algorithm.hypergradient:
        case Exact() if not closed_form(problem):
            refuse(
                "/algorithm/hypergradient",
                f"`exact` needs an inner problem with a closed form, which {problem.kind} does not have with "
                "these settings: use `reverse` or `implicit`",
            )
        case Forward() if (count := outer_variables(problem, algorithm)) > FORWARD_LIMIT:
            refuse(
                "/algorithm/hypergradient",
                f"`forward` needs one tangent for each of the {count} outer variables (at most {FORWARD_LIMIT}): "
                "use `reverse`",
            )
        case Reverse() as reverse:
            _check_reverse(reverse, algorithm.steps)
        case Implicit() as implicit:
            _check_implicit(problem, implicit)
    _check_dynamics(problem, algorithm)


def _check_reverse(reverse: Reverse, steps: int) -> None:
    if reverse.truncate is not None and reverse.truncate > steps:
        refuse(
            "/algorithm/hypergradient/truncate",
            f"cannot go back {reverse.truncate} steps of {steps}: lower `truncate` or leave it out",
        )
    if reverse.segment is not None and reverse.segment > steps:
        refuse(
            "/algorithm/hypergradient/segment",
            f"a segment of {reverse.segment} is longer than the {steps} inner steps: lower `segment`",
        )
    if reverse.segment is not None and reverse.truncate is not None:
        refuse(
            "/algorithm/hypergradient/segment",
            "a truncated reverse pass keeps its last iterates only: leave out `segment` or `truncate`",
        )


def _check_implicit(problem: Problem, implicit: Implicit) -> None:
    if isinstance(implicit.solver, Dense) and (count := inner_variables(problem)) > DENSE_LIMIT:
        refuse(
            "/algorithm/hypergradient/solver",
            f"`dense` factors the Hessian of all {count} inner variables (at most {DENSE_LIMIT}): use `cg`",
        )
    if isinstance(implicit.solver, Dense) and _singular(problem):
        refuse(
            "/algorithm/hypergradient/solver",
            "`dense` cannot factor this Hessian: softmax offsets are not regularized, and adding a number to all of "
            "them changes nothing: use `cg`, or a linear model with `bias` false",
        )
    if isinstance(problem, HyperRepresentation | HyperCleaning) and problem.l2 == 0:
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


def _check_dynamics(problem: Problem, algorithm: Algorithm) -> None:
    dynamics = algorithm.dynamics
    learned = [name for name in ("learn_rate", "learn_momentum") if getattr(dynamics, name, False)]
    if learned and isinstance(algorithm.hypergradient, Implicit | Exact):
        refuse(
            f"/algorithm/dynamics/{learned[0]}",
            f"`{algorithm.hypergradient.kind}` differentiates the solution, which does not depend on how it was "
            "reached: use `reverse` or `forward` to learn the dynamics",
        )
    if "learn_momentum" in learned and getattr(dynamics, "momentum", 0.0) == 0:
        refuse("/algorithm/dynamics/momentum", "a momentum of 0 cannot be learned by its logit: start above 0")
    if dynamics.batch is None:
        return
    if isinstance(problem, Quadratic | HyperRepresentation):
        refuse(
            "/algorithm/dynamics/batch",
            f"{problem.kind} has no minibatches of its inner objective: leave `batch` out",
        )
    elif dynamics.batch > training_examples(problem):
        refuse(
            "/algorithm/dynamics/batch",
            f"a minibatch of {dynamics.batch} is larger than the training set ({training_examples(problem)}): "
            "lower `batch`",
        )


__all__ = ["DENSE_LIMIT", "FORWARD_LIMIT", "check_algorithm", "check_problem", "closed_form", "squares"]
