"""Which experiments get to the same hypergradient on a faster way, from the spec alone."""

from core.spec.algorithms import (
    FirstOrder,
    GradientDescent,
    LineSearch,
    Nested,
    Reverse,
    Stepped,
    Unrolled,
)
from core.spec.diagnostics import measured_sections
from core.spec.experiment import Experiment
from core.spec.heads import SoftmaxHeads
from core.spec.problems import HyperRepresentation


def walks_in_dual(spec: Experiment) -> bool:
    """Whether reverse mode goes through the span of the support features: softmax heads under plain gradient descent,
    of tasks that all have as many classes."""
    problem, algorithm = spec.problem, spec.algorithm
    return (
        isinstance(problem, HyperRepresentation)
        and isinstance(problem.heads, SoftmaxHeads)
        and problem.way_from is None
        and isinstance(algorithm, Stepped)
        and algorithm.hypergradient == Reverse()
        and isinstance(algorithm.dynamics, GradientDescent)
    )


def replays(spec: Experiment) -> bool:
    """Whether a GPU replays a hyperiteration as a whole from a CUDA graph: one on meta-batches that are always as
    large, that never waits for the device, and whose kernels are always the same."""
    problem, algorithm = spec.problem, spec.algorithm
    return (
        isinstance(problem, HyperRepresentation)
        and problem.way_from is None
        and isinstance(algorithm, Nested)
        and isinstance(algorithm.hypergradient, Unrolled | Reverse | FirstOrder)
        and not isinstance(algorithm.dynamics, LineSearch)
        and not measured_sections(spec.diagnostics)
    )
