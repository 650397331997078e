"""The nested scheme of the paper: T inner steps from w_0, the hypergradient, one projected outer step."""

from collections.abc import Callable, Mapping

from torch import Tensor

from core.bilevel import trees
from core.bilevel.algorithms.from_graphs import from_graphs
from core.bilevel.graphs import Capture
from core.bilevel.optimizers import Numbers, OuterOptimizer
from core.bilevel.problem import Algorithm, AlgorithmState, Dynamics, Hypergradient, Method, MethodSeries, Problem, Tree


def nested(
    problem_at: Callable[[int], tuple[Problem, Dynamics]],
    methods: MethodSeries,
    optimizer: OuterOptimizer,
    project: Callable[[Tree], Tree],
    *,
    steps: int,
) -> Algorithm:
    """lam_{k+1} = project(optimizer(lam_k, hypergradient of problem_at(k) at lam_k)).

    The series of step k describe lam_k: "outer_objective", "hypergradient_norm" and the method's diagnostics. A
    hypergradient that is not finite shows in "hypergradient_norm"; the loop decides what that means.
    """

    def init(lam: Tree) -> AlgorithmState:
        return AlgorithmState(lam, (optimizer.init(lam), methods.init(*problem_at(0), lam)))

    def step(k: int, state: AlgorithmState) -> tuple[AlgorithmState, Mapping[str, Tensor]]:
        moments, carry = state.aux
        found = methods.at(k, carry)(*problem_at(k), state.lam, steps=steps)
        lam, moments = optimizer.step(k, found.grad, moments, state.lam)
        return AlgorithmState(project(lam), (moments, found.carry)), series_of(found)

    return Algorithm(init, step)


def nested_from_graph(
    problem_at: Callable[[int], tuple[Problem, Dynamics]],
    method: Method,
    optimizer: OuterOptimizer,
    project: Callable[[Tree], Tree],
    *,
    steps: int,
    capture: Capture | None = None,
) -> Algorithm:
    """The same with one method that carries nothing, each hyperiteration replayed as a whole from one CUDA graph.

    For problems that are stated by their tasks, whose shapes never change; nothing may wait for the device.
    """

    def init(lam: Tree) -> AlgorithmState:
        return AlgorithmState(lam, (optimizer.init(lam), ()))

    def advance(
        t: int, problem: Problem, dynamics: Dynamics, numbers: Numbers, state: AlgorithmState
    ) -> tuple[AlgorithmState, Mapping[str, Tensor]]:
        found = method(problem, dynamics, state.lam, steps=steps)
        lam, moments = optimizer.move(numbers, found.grad, state.aux[0], state.lam)
        return AlgorithmState(project(lam), (moments, ())), series_of(found)

    return Algorithm(init, from_graphs(problem_at, advance, lambda k: optimizer.numbers(k, k), capture=capture))


def series_of(found: Hypergradient) -> dict[str, Tensor]:
    """What a hyperiteration records, by name."""
    norm = trees.norm(found.grad)
    return {"outer_objective": found.outer_loss, "hypergradient_norm": norm, **found.diagnostics}
