"""What a cross-validated outer objective cannot go with."""

from core.spec.algorithms import Algorithm
from core.spec.base import refuse
from core.spec.problems import Problem, Regularization
from core.spec.stochastic import Stochastic


def check_folds(problem: Problem, algorithm: Algorithm) -> None:
    """Refuses minibatches where every fold has a training set of its own."""
    if not isinstance(problem, Regularization) or problem.folds is None:
        return
    if isinstance(algorithm, Stochastic):
        refuse(
            "/problem/folds",
            f"`{algorithm.kind}` draws minibatches of one training and one validation set, and every fold has its own: "
            "leave `folds` out, or use the algorithm `nested`",
        )
    if algorithm.dynamics.batch is not None:
        refuse(
            "/algorithm/dynamics/batch",
            "every fold has a training set of its own, which one minibatch cannot be of: leave `batch` or `folds` out",
        )
