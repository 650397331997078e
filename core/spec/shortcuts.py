"""Which experiments get to the same hypergradient on a faster way, from the spec alone."""

from core.spec.algorithms import (
    Exact,
    FirstOrder,
    GradientDescent,
    Joint,
    LineSearch,
    Nested,
    Reverse,
    Stepped,
    Unrolled,
)
from core.spec.diagnostics import measured_sections
from core.spec.experiment import Experiment
from core.spec.heads import SoftmaxHeads
from core.spec.multiclass_transfer import MulticlassTransfer
from core.spec.problems import HyperRepresentation

ALWAYS_THE_SAME = (Unrolled, Reverse, FirstOrder)
"""Hypergradients that never wait for the device."""
MOST_IN_TURN = 16
"""Hyperiterations that a meta-batch serves, each from a graph of its own."""


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
    large, that never waits for the device, and whose kernels are always the same, or are in turn."""
    problem, algorithm = spec.problem, spec.algorithm
    if not isinstance(algorithm, Nested | Joint):
        return False
    if isinstance(algorithm.dynamics, LineSearch) or measured_sections(spec.diagnostics):
        return False
    if isinstance(problem, MulticlassTransfer):  # which has nothing to solve
        return isinstance(algorithm, Nested) and isinstance(algorithm.hypergradient, (*ALWAYS_THE_SAME, Exact))
    if not isinstance(problem, HyperRepresentation) or problem.way_from is not None:
        return False
    if isinstance(algorithm, Joint):
        return algorithm.interval <= MOST_IN_TURN
    return isinstance(algorithm.hypergradient, ALWAYS_THE_SAME)
