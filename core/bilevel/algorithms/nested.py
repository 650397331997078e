"""The nested scheme of the paper: T inner steps from w_0, the hypergradient, one projected outer step."""

from collections.abc import Callable, Mapping

from torch import Tensor

from core.bilevel import trees
from core.bilevel.optimizers import OuterOptimizer
from core.bilevel.problem import Algorithm, AlgorithmState, Dynamics, MethodSeries, Problem, Tree


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
        problem, dynamics = problem_at(k)
        assert isinstance(state.aux, tuple)
        moments, carry = state.aux
        found = methods.at(k, carry)(problem, dynamics, state.lam, steps=steps)
        series = {
            "outer_objective": found.outer_loss,
            "hypergradient_norm": trees.norm(found.grad),
            **found.diagnostics,
        }
        lam, moments = optimizer.step(k, found.grad, moments, state.lam)
        return AlgorithmState(project(lam), (moments, found.carry)), series

    return Algorithm(init, step)
