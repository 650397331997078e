"""The nested scheme of the paper: T inner steps from w_0, the hypergradient, one projected outer step."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.graphs import Capture, capture_cuda, replayed, restated, tasks_of
from core.bilevel.optimizers import OuterOptimizer
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
        assert isinstance(state.aux, tuple)
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
    capture: Capture = capture_cuda,
) -> Algorithm:
    """The same with one method that carries nothing, each hyperiteration replayed as a whole from one CUDA graph.

    For problems that are stated by their tasks, whose shapes never change; nothing may wait for the device.
    """
    recorded: list[Callable[[Tree], tuple[AlgorithmState, Mapping[str, Tensor]]]] = []

    def init(lam: Tree) -> AlgorithmState:
        return AlgorithmState(lam, (optimizer.init(lam), ()))

    @torch.no_grad()
    def step(k: int, state: AlgorithmState) -> tuple[AlgorithmState, Mapping[str, Tensor]]:
        tasks = tasks_of(problem_at(k)[0])

        def compute(inputs: Any) -> tuple[AlgorithmState, Mapping[str, Tensor]]:
            lam, (moments, _) = inputs["state"]
            found = method(*restated(tasks, inputs["data"]), lam, steps=steps)
            moved, moments = optimizer.move(inputs["numbers"].unbind(), found.grad, moments, lam)
            return AlgorithmState(project(moved), (moments, ())), series_of(found)

        like = trees.leaves(state.lam)[0]
        numbers = torch.tensor(optimizer.numbers(k), dtype=like.dtype).to(like.device, non_blocking=True)
        inputs: Tree = {"state": state, "numbers": numbers, "data": tasks.data}
        if not recorded:
            recorded.append(replayed(compute, inputs, capture))
        return recorded[0](inputs)

    return Algorithm(init, step)


def series_of(found: Hypergradient) -> dict[str, Tensor]:
    """What a hyperiteration records, by name."""
    norm = trees.norm(found.grad)
    return {"outer_objective": found.outer_loss, "hypergradient_norm": norm, **found.diagnostics}
