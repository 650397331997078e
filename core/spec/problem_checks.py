"""What a problem is, by its spec alone, and the problems that its data cannot serve."""

from core.spec.base import refuse
from core.spec.few_shot_checks import check_ways
from core.spec.heads import SoftmaxHeads
from core.spec.models import Linear
from core.spec.multiclass_transfer import MulticlassTransfer
from core.spec.plugins import PluginProblem
from core.spec.problems import (
    FewShot,
    HyperCleaning,
    HyperRepresentation,
    Problem,
    Quadratic,
    RandomQuadratics,
    Regularization,
)
from core.spec.sizes import test_examples, training_examples, training_sets, validation_examples


def check_problem(problem: Problem) -> None:
    """Refuses a problem that its data cannot serve."""
    if isinstance(problem, FewShot):
        _check_episodes(problem)
        if isinstance(problem, HyperRepresentation):
            _check_training(problem)
    elif isinstance(problem, Regularization | HyperCleaning):
        _check_split(problem)
        if isinstance(problem, Regularization):
            _check_regularization(problem)
        else:
            _check_cleaning(problem)


def _check_episodes(problem: FewShot) -> None:
    check_ways(problem)
    images = problem.dataset.images_per_class
    if problem.shot + problem.query > images:
        refuse(
            "/problem/query",
            f"shot + query = {problem.shot + problem.query}, but a class has {images} images and the support and "
            f"query sets are disjoint: lower `query` to at most {max(images - problem.shot, 0)}",
        )


def _check_training(problem: HyperRepresentation) -> None:
    images = problem.dataset.images_per_class
    shot, query = training_sets(problem)
    if shot + query > images:
        refuse(
            "/problem/training_shot",
            f"{shot} support and {query} query examples of each class, but a class has {images} images and the sets "
            f"are disjoint: lower `training_shot` to at most {max(images - query, 0)}",
        )
    if problem.l2 and not isinstance(problem.heads, SoftmaxHeads):
        refuse(
            "/problem/l2",
            f"`{problem.heads.kind}` heads have an inner objective of their own: leave `l2` out (the strength of "
            "`ridge` is in its own fields)",
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
    if problem.loss in ("cross_entropy", "logistic") and not problem.dataset.classes:
        refuse("/problem/loss", f"{problem.dataset.kind} has a number as target: use the loss `squared`")
    if problem.loss == "logistic" and problem.dataset.classes != 2:
        refuse(
            "/problem/loss",
            f"`logistic` tells two classes apart, and {problem.dataset.kind} has {problem.dataset.classes}: use "
            "`cross_entropy`",
        )
    if problem.strength in ("feature", "class") and not isinstance(problem.model, Linear):
        refuse(
            "/problem/strength",
            f"one strength a {problem.strength} needs the model `linear`: use it, or `layer` or `global`",
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
        return squares(problem) and isinstance(problem.model, Linear) and problem.strength != "class"
    if isinstance(problem, PluginProblem):
        return problem.closed_form()
    if isinstance(problem, HyperRepresentation):
        return not isinstance(problem.heads, SoftmaxHeads)
    return isinstance(problem, Quadratic | RandomQuadratics | MulticlassTransfer)


def strongly_convex(problem: HyperRepresentation | HyperCleaning) -> bool:
    """Whether the inner objective of linear models or heads is, for all outer variables."""
    own = isinstance(problem, HyperRepresentation) and not isinstance(problem.heads, SoftmaxHeads)
    return own or problem.l2 > 0


def analytic(problem: Problem) -> bool:
    """Whether the inner problem is that of a linear model whose steps are written out: not for one strength a class
    nor for the loss `logistic`, which differentiate as everything else does."""
    if not isinstance(problem, Regularization | HyperCleaning) or not isinstance(problem.model, Linear):
        return False
    return isinstance(problem, HyperCleaning) or (problem.loss != "logistic" and problem.strength != "class")


def has_finite_sum(problem: Problem) -> bool:
    """Whether both objectives are means over examples, of which minibatches can be drawn."""
    return isinstance(problem, RandomQuadratics | Regularization | HyperCleaning)
