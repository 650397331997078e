"""The nested scheme of the paper: T inner steps from w_0, the hypergradient, one projected outer step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.graphs import Capture, capture_cuda, replayed, restated, tasks_of
from core.bilevel.optimizers import OuterOptimizer
from core.bilevel.problem import Algorithm, AlgorithmState, Dynamics, Method, MethodSeries, Problem, Tree


class Hyperiteration(NamedTuple):
    """What a hyperiteration leaves."""

    lam: Tree
    """Of the next one."""
    moments: Tree
    """The optimizer's state."""
    carry: Tree
    """The method's."""
    series: Mapping[str, Tensor]


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
        assert isinstance(state.aux, tuple)
        moments, carry = state.aux
        once = _hyperiteration(methods.at(k, carry), optimizer, project, steps)
        made = once(*problem_at(k), optimizer.numbers(k), state.lam, moments)
        return AlgorithmState(made.lam, (made.moments, made.carry)), made.series

    return Algorithm(init, step)


def nested_from_graph(
    problem_at: Callable[[int], tuple[Problem, Dynamics]],
    method: Method,
    optimizer: OuterOptimizer,
    project: Callable[[Tree], Tree],
    *,
    steps: int,
    capture: Capture = capture_cuda,
) -> Algorithm:
    """The same with one method that carries nothing, each hyperiteration replayed as a whole from one CUDA graph.

    For problems that are stated by their tasks, whose shapes never change; nothing may wait for the device.
    """
    once, recorded = _hyperiteration(method, optimizer, project, steps), list[Callable[[Tree], Any]]()

    def init(lam: Tree) -> AlgorithmState:
        return AlgorithmState(lam, (optimizer.init(lam), ()))

    @torch.no_grad()
    def step(k: int, state: AlgorithmState) -> tuple[AlgorithmState, Mapping[str, Tensor]]:
        tasks = tasks_of(problem_at(k)[0])
        assert isinstance(state.aux, tuple)

        def compute(inputs: Any) -> Hyperiteration:
            stated = restated(tasks, inputs["data"])
            return once(*stated, inputs["numbers"].unbind(), inputs["lam"], inputs["moments"])

        like = trees.leaves(state.lam)[0]
        numbers = torch.tensor(optimizer.numbers(k), dtype=like.dtype).to(like.device, non_blocking=True)
        inputs: Tree = {"lam": state.lam, "moments": state.aux[0], "numbers": numbers, "data": tasks.data}
        if not recorded:
            recorded.append(replayed(compute, inputs, capture))
        made: Hyperiteration = recorded[0](inputs)
        return AlgorithmState(made.lam, (made.moments, made.carry)), made.series

    return Algorithm(init, step)


def _hyperiteration(
    method: Method, optimizer: OuterOptimizer, project: Callable[[Tree], Tree], steps: int
) -> Callable[[Problem, Dynamics, Sequence[float | Tensor], Tree, Tree], Hyperiteration]:
    """(problem, dynamics, the optimizer's numbers, lam_k, the optimizer's state) -> what the hyperiteration leaves."""

    def once(
        problem: Problem, dynamics: Dynamics, numbers: Sequence[float | Tensor], lam: Tree, moments: Tree
    ) -> Hyperiteration:
        found = method(problem, dynamics, lam, steps=steps)
        series = {
            "outer_objective": found.outer_loss,
            "hypergradient_norm": trees.norm(found.grad),
            **found.diagnostics,
        }
        moved, moments = optimizer.move(numbers, found.grad, moments, lam)
        return Hyperiteration(project(moved), moments, found.carry, series)

    return once
