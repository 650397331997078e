"""What a problem is, by its spec alone, and the problems that its data cannot serve."""

from core.spec.base import refuse
from core.spec.few_shot_checks import check_ways
from core.spec.heads import SoftmaxHeads
from core.spec.learned_problems import Classification, LearnedData, LearnedOptimizer
from core.spec.models import Linear
from core.spec.multiclass_transfer import MulticlassTransfer
from core.spec.plugins import PluginProblem
from core.spec.problems import (
    FewShot,
    HyperCleaning,
    HyperRepresentation,
    LinearRepresentation,
    Problem,
    Quadratic,
    RandomQuadratics,
    Regularization,
)
from core.spec.sizes import (
    TableProblem,
    dimension,
    examples_left,
    learned_examples,
    real_examples,
    test_examples,
    training_examples,
    training_sets,
    validation_examples,
)


def check_problem(problem: Problem) -> None:
    """Refuses a problem that its data cannot serve."""
    if isinstance(problem, FewShot):
        _check_episodes(problem)
        if isinstance(problem, HyperRepresentation):
            _check_training(problem)
    elif isinstance(problem, RandomQuadratics):
        if problem.inner_examples < problem.inner_dimension:
            refuse(
                "/problem/inner_examples",
                f"the mean of {problem.inner_examples} Hessians of rank 1 is singular in {problem.inner_dimension} "
                "dimensions: raise it to at least `inner_dimension`",
            )
    elif isinstance(problem, LinearRepresentation):
        _check_characters(problem)
    elif isinstance(problem, LearnedOptimizer):
        _check_tasks(problem)
    elif isinstance(problem, LearnedData):
        _check_split(problem)
        _check_learned_data(problem)
    elif isinstance(problem, Regularization | HyperCleaning):
        if isinstance(problem, HyperCleaning):
            _check_cleaning(problem)
        _check_split(problem)
        if isinstance(problem, Regularization):
            _check_regularization(problem)


def _check_episodes(problem: FewShot) -> None:
    check_ways(problem)
    images = problem.dataset.images_per_class
    if problem.shot + problem.query > images:
        field, most = ("query", images - problem.shot) if problem.shot < images else ("shot", images - problem.query)
        refuse(
            f"/problem/{field}",
            f"shot + query = {problem.shot + problem.query}, but a class has {images} images and the support and "
            f"query sets are disjoint: lower `{field}` to at most {max(most, 1)}",
        )


def _check_training(problem: HyperRepresentation) -> None:
    images = problem.dataset.images_per_class
    _, shot, query = training_sets(problem)
    if shot + query > images:
        field, most = ("training_shot", images - query) if query < images else ("training_query", images - shot)
        refuse(
            f"/problem/{field}",
            f"{shot} support and {query} query examples of each class, but a class has {images} images and the sets "
            f"are disjoint: lower `{field}` to at most {max(most, 0)}",
        )
    if problem.training_query is not None and problem.outer_set == "support":
        refuse(
            "/problem/training_query",
            "with `outer_set: support` meta-training draws no query sets: leave it out",
        )
    if problem.cross_fitting:
        _check_cross_fitting(problem)
    if problem.tasks is not None and problem.tasks < problem.meta_batch:
        refuse(
            "/problem/tasks",
            f"a meta-batch of {problem.meta_batch} out of {problem.tasks} tasks: raise `tasks` or lower `meta_batch`",
        )
    if problem.l2 and not isinstance(problem.heads, SoftmaxHeads):
        refuse(
            "/problem/l2",
            f"`{problem.heads.kind}` heads have an inner objective of their own: leave `l2` out (the strength of "
            "`ridge` is in its own fields)",
        )


def _check_cross_fitting(problem: HyperRepresentation) -> None:
    _, shot, query = training_sets(problem)
    if problem.outer_set == "support":
        refuse(
            "/problem/cross_fitting",
            "with `outer_set: support` meta-training draws no query sets for the support set to change places with: "
            "leave one of both out",
        )
    if problem.way_from is not None:
        refuse(
            "/problem/cross_fitting",
            "it is for tasks that all have as many classes: leave it or `way_from` out",
        )
    if query % shot:
        name = "query" if problem.training_query is None else "training_query"
        refuse(
            f"/problem/{name}",
            f"`cross_fitting` cuts a task into sets of as many examples of each class as the support set has, {shot}: "
            f"make `{name}` a multiple of it, such as {max(query // shot, 1) * shot}",
        )


def _check_characters(problem: LinearRepresentation) -> None:
    classes = problem.dataset.test_classes()
    if problem.classes > classes:
        refuse(
            "/problem/classes",
            f"{problem.classes} classes, but the meta-test set has {classes}: lower `classes`, or set `rotations` of "
            "the data set",
        )
    images, wanted = problem.dataset.images_per_class, problem.train + problem.validation + problem.test
    if wanted > images:
        refuse(
            "/problem/test",
            f"train + validation + test = {wanted}, but a class has {images} images and the three sets are disjoint: "
            f"lower `test` to at most {max(images - problem.train - problem.validation, 0)}",
        )
    if problem.initial == "identity" and dimension(problem) != problem.features.size:
        refuse(
            "/problem/initial",
            f"H is {dimension(problem)} x {problem.features.size}, which the identity is not: leave `dimension` out, "
            "or use `glorot`",
        )


def _check_split(problem: TableProblem) -> None:
    dataset = problem.dataset
    train, validation, rest = training_examples(problem), validation_examples(problem), examples_left(problem)
    if 0 < dataset.validation_examples < validation:
        refuse(
            "/problem/validation",
            f"{validation} validation examples, but {dataset.kind} has {dataset.validation_examples} of its own: "
            f"give `validation`, at most {dataset.validation_examples}",
        )
    if rest < 0:
        drawn = f"train = {train}" if dataset.validation_examples else f"train + validation = {train + validation}"
        refuse(
            "/problem/train",
            f"{drawn}, but {dataset.kind} has {dataset.examples} examples: lower `train` or `validation`",
        )
    available = dataset.test_examples or rest
    if available < max(test_examples(problem), 1):
        refuse(
            "/problem/test",
            f"{problem.test or 1} test examples, but {available} are left: lower `test`, `train` or `validation`",
        )


def _check_regularization(problem: Regularization) -> None:
    if problem.folds is not None and problem.folds > (
        pool := training_examples(problem) + validation_examples(problem)
    ):
        refuse("/problem/folds", f"{problem.folds} folds of {pool} examples: lower `folds`, or raise `train`")
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


def _check_tasks(problem: LearnedOptimizer) -> None:
    tasks = problem.tasks
    if not isinstance(tasks, Classification):
        return
    if not tasks.dataset.classes:
        refuse("/problem/tasks/dataset", f"{tasks.dataset.kind} has no classes: choose a data set with classes")
    smallest = tasks.dataset.validation_examples or tasks.dataset.examples // 4
    if tasks.batch is not None and tasks.batch > smallest:
        refuse(
            "/problem/tasks/batch",
            f"a minibatch of {tasks.batch} is larger than the validation set ({smallest}), which tasks of "
            "meta-validation draw from: lower `batch`",
        )


def _check_learned_data(problem: LearnedData) -> None:
    if not problem.dataset.classes:
        refuse(
            "/problem/dataset",
            f"{problem.dataset.kind} has a number as target, and learned examples have classes: choose a data set "
            "with classes",
        )
    real = real_examples(problem)
    if problem.outer_batch is not None and problem.outer_batch > real:
        refuse(
            "/problem/outer_batch",
            f"a minibatch of {problem.outer_batch} is larger than the {problem.objective} set ({real}): lower "
            "`outer_batch`",
        )
    if learned_examples(problem) > training_examples(problem):
        refuse(
            "/problem/examples_per_class",
            f"{learned_examples(problem)} learned examples are more than the {training_examples(problem)} training "
            "examples that they stand for: lower `examples_per_class`",
        )


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
    return isinstance(problem, Quadratic | RandomQuadratics | LinearRepresentation | MulticlassTransfer)


def strongly_convex(problem: HyperRepresentation | HyperCleaning | LearnedData) -> bool:
    """Whether the inner objective of linear models or heads is, for all outer variables."""
    own = isinstance(problem, HyperRepresentation) and not isinstance(problem.heads, SoftmaxHeads)
    return own or problem.l2 > 0


def analytic(problem: Problem) -> bool:
    """Whether the inner problem is that of a linear model whose steps are written out: not for one strength a class or
    the models of a cross-validation, which differentiate as everything else does."""
    if not isinstance(problem, Regularization | HyperCleaning) or not isinstance(problem.model, Linear):
        return False
    if isinstance(problem, HyperCleaning):
        return True
    return problem.strength != "class" and problem.folds is None


def has_finite_sum(problem: Problem) -> bool:
    """Whether both objectives are means over examples, of which minibatches can be drawn."""
    if isinstance(problem, Regularization):
        return problem.folds is None
    if isinstance(problem, PluginProblem):
        return problem.finite_sum()
    return isinstance(problem, RandomQuadratics | HyperCleaning | LearnedData)
