"""What data sets of feature vectors cost, and how many examples a gradient sees."""

from core.planning.work import Work
from core.spec import Experiment
from core.spec.sizes import TableProblem
from core.spec.stochastic import Stochastic


def blocks(spec: Experiment, inner: int, outer: int) -> tuple[int, int]:
    """Minibatches of an algorithm that draws from both objectives."""
    if not isinstance(spec.algorithm, Stochastic) or spec.algorithm.batch is None:
        return 1, 1
    return -(-inner // spec.algorithm.batch), -(-outer // spec.algorithm.batch)


def minibatches(spec: Experiment, inner: int, outer: int) -> tuple[int, int]:
    """Examples that a gradient of either objective sees."""
    algorithm = spec.algorithm
    if not isinstance(algorithm, Stochastic):
        return min(algorithm.dynamics.batch or inner, inner), outer
    return min(algorithm.batch or inner, inner), min(algorithm.batch or outer, outer)


def metrics(problem: TableProblem, count: int) -> Work:
    """Loss and accuracy: softmax and argmax of few scores go example by example."""
    return Work(operators=20 + (0.03 * count if problem.dataset.classes else 0))


def loading(kind: str, examples: int, features: int) -> float:
    """Bytes of the table as it is read; one is kept in float64 unless its numbers are few (pixels, words, flags)."""
    per_number = {"mnist": 5.0, "20news": 5.0, "a9a": 5.0, "w8a": 5.0}.get(kind, 16.0)
    return per_number * examples * features
