"""How many outer and inner variables a problem has, from its spec alone."""

from typing import NamedTuple, assert_never

from core.spec.algorithms import Algorithm, Stepped
from core.spec.heads import PrototypeHeads, RidgeHeads
from core.spec.images import affine_size, feature_size, representation_size
from core.spec.learned_problems import (
    Classification,
    LearnedData,
    LearnedOptimizer,
    LstmOptimizer,
    MlpOptimizer,
    Quadratics,
)
from core.spec.models import Linear, Mlp, TableModel
from core.spec.multiclass_transfer import MulticlassTransfer
from core.spec.plugins import PluginModel, PluginProblem
from core.spec.problems import (
    FewShot,
    HyperCleaning,
    HyperRepresentation,
    Initialization,
    LinearRepresentation,
    Problem,
    Quadratic,
    RandomQuadratics,
    Regularization,
)
from core.spec.table import Table

TableProblem = Regularization | HyperCleaning | LearnedData
"""Problems on a data set of feature vectors that is split in three."""


def training_examples(problem: TableProblem) -> int:
    """Size of the training set."""
    return problem.train or problem.dataset.examples // 2


def validation_examples(problem: TableProblem) -> int:
    """Size of the validation set: what is asked for, else the data set's own, else a quarter of its examples."""
    return problem.validation or problem.dataset.validation_examples or problem.dataset.examples // 4


def examples_left(problem: TableProblem) -> int:
    """Examples of the data set that neither training nor validation takes; below 0: they ask for too many."""
    drawn = 0 if problem.dataset.validation_examples else validation_examples(problem)
    return problem.dataset.examples - training_examples(problem) - drawn


def test_examples(problem: TableProblem) -> int:
    """Size of the test set: what is asked for, else the data set's own, else what the other two leave."""
    return problem.test or problem.dataset.test_examples or examples_left(problem)


def minibatch_examples(problem: Problem) -> int | None:
    """Examples that minibatches of the inner objective are drawn from; None: the problem has no minibatches."""
    match problem:
        case Quadratic() | RandomQuadratics() | HyperRepresentation() | LinearRepresentation() | LearnedOptimizer():
            return None
        case MulticlassTransfer() | Initialization():
            return None
        case LearnedData():
            return learned_examples(problem)
        case PluginProblem():
            return problem.training_examples()
        case Regularization() if problem.folds is not None:
            return None
        case _:
            return training_examples(problem)


def learned_examples(problem: LearnedData) -> int:
    """Examples that are outer variables."""
    return problem.examples_per_class * problem.dataset.classes


def real_examples(problem: LearnedData) -> int:
    """Examples that the outer objective is a mean over."""
    return training_examples(problem) if problem.objective == "training" else validation_examples(problem)


def outputs(dataset: Table) -> int:
    """Scores of a model for the data set: one for a number, one for each class otherwise."""
    return max(dataset.classes, 1)


def scores(problem: TableProblem) -> int:
    """Scores of the ground model: one for the loss `logistic`, else as the data set has them."""
    single = isinstance(problem, Regularization) and problem.loss == "logistic"
    return 1 if single else outputs(problem.dataset)


def strengths(problem: Regularization) -> int:
    """Number of regularization strengths."""
    match problem.strength:
        case "global":
            return 1
        case "layer":
            return layers(problem.model)
        case "feature":
            return problem.dataset.features
        case "class":
            return scores(problem)


def layers(model: TableModel) -> int:
    """Affine layers of the model."""
    match model:
        case Linear():
            return 1
        case Mlp():
            return len(model.hidden) + 1
        case PluginModel():
            return model.layers()
        case _:
            assert_never(model)


def inner_variables(problem: Problem) -> int:
    """Number of inner variables (of all tasks of a meta-batch together)."""
    match problem:
        case Quadratic() | RandomQuadratics():
            return problem.inner_dimension
        case Regularization() | HyperCleaning() | LearnedData():
            return models(problem) * model_size(problem.model, problem.dataset.features, scores(problem))
        case LearnedOptimizer():
            return problem.meta_batch * coordinates(problem)
        case HyperRepresentation():
            bias = not isinstance(problem.heads, PrototypeHeads)
            return (
                problem.meta_batch * inner_problems(problem) * (features(problem) + bias) * training_sets(problem).way
            )
        case MulticlassTransfer():
            return 0
        case Initialization():
            return problem.meta_batch * adapted(problem)
        case LinearRepresentation():
            return problem.classes * dimension(problem)
        case PluginProblem():
            return problem.inner_variables()
        case _:
            assert_never(problem)


class Sets(NamedTuple):
    """What an episode is made of."""

    way: int
    """Classes."""
    shot: int
    """Support examples of each class."""
    query: int
    """Query examples of each class."""


def evaluation_sets(problem: FewShot) -> Sets:
    """An episode of meta-validation and meta-test."""
    return Sets(problem.way, problem.shot, problem.query)


def training_sets(problem: HyperRepresentation) -> Sets:
    """An episode of meta-training."""
    query = (problem.training_query or problem.query) if problem.outer_set == "query" else 0
    return Sets(problem.training_way or problem.way, problem.training_shot or problem.shot, query)


def inner_problems(problem: HyperRepresentation) -> int:
    """Of each task of meta-training: one, or as many as it has sets that are the support set in turn."""
    _, shot, query = training_sets(problem)
    return 1 + query // shot if problem.cross_fitting else 1


def adapted(problem: Initialization) -> int:
    """Inner variables of one task."""
    return _head(problem) + (parameters(problem) if problem.adapt == "all" else 0)


def _head(problem: Initialization) -> int:
    return (features(problem) + 1) * problem.way


def features(problem: FewShot) -> int:
    """Of an image of the problem's data set."""
    return feature_size(problem.model, problem.dataset.side)


def parameters(problem: FewShot) -> int:
    """Of the problem's representation."""
    return representation_size(problem.model, problem.dataset.channels, problem.dataset.side)


def models(problem: TableProblem) -> int:
    """Ground models that are fitted together: one for each fold of a cross-validation."""
    return (isinstance(problem, Regularization) and problem.folds) or 1


def dimension(problem: LinearRepresentation) -> int:
    """Entries of Hx."""
    return problem.dimension or problem.features.size


def model_size(model: TableModel, features: int, count: int) -> int:
    """Parameters of a ground model with so many scores."""
    match model:
        case Linear():
            return (features + model.bias) * count
        case Mlp():
            return affine_size((features, *model.hidden, count))
        case PluginModel():
            return model.inner_variables(features, count)
        case _:
            assert_never(model)


def coordinates(problem: LearnedOptimizer) -> int:
    """Parameters of one task."""
    match problem.tasks:
        case Quadratics():
            return problem.tasks.dimension
        case Classification():
            dataset = problem.tasks.dataset
            return model_size(problem.tasks.model, dataset.features, dataset.classes)
        case _:
            assert_never(problem.tasks)


def optimizer_size(optimizer: LstmOptimizer | MlpOptimizer) -> int:
    """Parameters of a network that makes the steps of an optimizer."""
    match optimizer:
        case LstmOptimizer():
            h = optimizer.hidden
            return sum(4 * h * (inputs + h + 1) for inputs in (2, *[h] * (optimizer.layers - 1))) + h + 1
        case MlpOptimizer():
            seen = 1 + len(optimizer.decays)
            return seen + affine_size((2 * seen, *optimizer.hidden, 1))
        case _:
            assert_never(optimizer)


def _learned(problem: Problem, algorithm: Stepped) -> int:
    """Outer variables of the inner dynamics."""
    dynamics = algorithm.dynamics
    rates = algorithm.steps if dynamics.rate_per_step else 1
    momenta = algorithm.steps if getattr(dynamics, "momentum_per_step", False) else 1
    if isinstance(problem, Initialization) and getattr(dynamics, "rate_per_parameter", False):
        rates = adapted(problem)
    return rates * dynamics.learn_rate + momenta * getattr(dynamics, "learn_momentum", False)


def outer_variables(problem: Problem, algorithm: Algorithm) -> int:
    """Number of outer variables, those of the inner dynamics included."""
    learned = _learned(problem, algorithm) if isinstance(algorithm, Stepped) else 0
    match problem:
        case Quadratic() | RandomQuadratics():
            own = problem.outer_dimension
        case Regularization():
            own = strengths(problem)
        case HyperCleaning():
            own = problem.train
        case LearnedOptimizer():
            own = optimizer_size(problem.optimizer)
        case LearnedData():
            own = learned_examples(problem) * problem.dataset.features
        case HyperRepresentation():
            own = parameters(problem) + 3 * isinstance(problem.heads, RidgeHeads)
        case MulticlassTransfer():
            own = parameters(problem) + affine_size((features(problem), problem.dataset.class_counts()[0]))
        case Initialization():
            own = parameters(problem) + (_head(problem) if problem.head_start == "learned" else 0)
        case LinearRepresentation():
            own = dimension(problem) * problem.features.size
        case PluginProblem():
            own = problem.outer_variables()
        case _:
            assert_never(problem)
    return own + learned
