"""How many outer and inner variables a problem has, from its spec alone."""

from itertools import pairwise
from typing import assert_never

from core.spec.algorithms import Algorithm
from core.spec.datasets import Table
from core.spec.models import Conv4, Linear, Mlp
from core.spec.problems import HyperCleaning, HyperRepresentation, Problem, Quadratic, Regularization


def training_examples(problem: Regularization | HyperCleaning) -> int:
    """Size of the training set."""
    return problem.train or problem.dataset.examples // 2


def validation_examples(problem: Regularization | HyperCleaning) -> int:
    """Size of the validation set."""
    return problem.validation or problem.dataset.examples // 4


def test_examples(problem: Regularization | HyperCleaning) -> int:
    """Size of the test set: what is asked for, else the data set's own, else what the other two leave."""
    dataset = problem.dataset
    rest = dataset.examples - training_examples(problem) - validation_examples(problem)
    return problem.test or dataset.test_examples or rest


def outputs(dataset: Table) -> int:
    """Scores of a model for the data set: one for a number, one for each class otherwise."""
    return max(dataset.classes, 1)


def layers(model: Linear | Mlp) -> int:
    """Affine layers of the model."""
    return 1 if isinstance(model, Linear) else len(model.hidden) + 1


def _affine(sizes: tuple[int, ...]) -> int:
    return sum(rows * columns + columns for rows, columns in pairwise(sizes))


def inner_variables(problem: Problem) -> int:
    """Number of inner variables (of all tasks of a meta-batch together)."""
    match problem:
        case Quadratic():
            return problem.inner_dimension
        case Regularization() | HyperCleaning():
            features, scores = problem.dataset.features, outputs(problem.dataset)
            match problem.model:
                case Linear():
                    return (features + problem.model.bias) * scores
                case Mlp():
                    return _affine((features, *problem.model.hidden, scores))
                case _:
                    assert_never(problem.model)
        case HyperRepresentation():
            return problem.meta_batch * (feature_size(problem.model) + 1) * problem.way
        case _:
            assert_never(problem)


def feature_size(model: Conv4 | Mlp, side: int = 28) -> int:
    """Features that a representation makes of a side x side image."""
    match model:
        case Conv4():
            for _ in range(4):
                side = (side + 1) // 2 if model.downsample == "stride" else side // 2
            return model.filters * side * side
        case Mlp():
            return model.hidden[-1]
        case _:
            assert_never(model)


def representation_size(model: Conv4 | Mlp, channels: int = 1, side: int = 28) -> int:
    """Parameters of a representation."""
    match model:
        case Conv4():
            norms = 2 if model.norm_scale else 1
            first = 9 * channels * model.filters
            return first + 3 * 9 * model.filters**2 + 4 * norms * model.filters
        case Mlp():
            return _affine((channels * side * side, *model.hidden))
        case _:
            assert_never(model)


def outer_variables(problem: Problem, algorithm: Algorithm) -> int:
    """Number of outer variables, those of the inner dynamics included."""
    learned = algorithm.dynamics.learn_rate + getattr(algorithm.dynamics, "learn_momentum", False)
    match problem:
        case Quadratic():
            own = problem.outer_dimension
        case Regularization():
            by_strength = {"global": 1, "layer": layers(problem.model), "feature": problem.dataset.features}
            own = by_strength[problem.strength]
        case HyperCleaning():
            own = problem.train
        case HyperRepresentation():
            own = representation_size(problem.model)
        case _:
            assert_never(problem)
    return own + learned
