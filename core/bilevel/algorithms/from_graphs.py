"""Hyperiterations replayed as a whole from CUDA graphs: one for each of those that a meta-batch serves."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.graphs import Capture, capture_cuda, places_like, replayed, restated, tasks_of
from core.bilevel.optimizers import Numbers
from core.bilevel.problem import AlgorithmState, Dynamics, Problem, Tree

Moved = tuple[AlgorithmState, Mapping[str, Tensor]]
"""Next state, and series at this one."""


def from_graphs(
    problem_at: Callable[[int], tuple[Problem, Dynamics]],
    advance: Callable[[int, Problem, Dynamics, Numbers, AlgorithmState], Moved],
    numbers: Callable[[int], tuple[float, ...]],
    *,
    interval: int = 1,
    capture: Capture | None = None,
) -> Callable[[int, AlgorithmState], Moved]:
    """(k, state) -> advance(t, problem and dynamics of meta-batch m, numbers(k), state); m, t = divmod(k, interval).

    For problems that are stated by their tasks, whose shapes never change; nothing may wait for the device.

    Args:
        problem_at: m -> problem and dynamics.
        advance: a hyperiteration as a function of tensors and t; what depends on k otherwise are the numbers.
        numbers: k -> the numbers of step k.
        interval: hyperiterations that a meta-batch serves.
        capture: records one of them; None: on the current CUDA device, all in the same memory.
    """
    capture = capture or partial(capture_cuda, pool=torch.cuda.graph_pool_handle())
    recorded: dict[int, Callable[[Tree], Any]] = {}
    fixed: list[Tree] = []

    @torch.no_grad()
    def step(k: int, state: AlgorithmState) -> Moved:
        meta_batch, t = divmod(k, interval)
        tasks = tasks_of(problem_at(meta_batch)[0])

        def compute(inputs: Any) -> Moved:
            return advance(t, *restated(tasks, inputs["data"]), inputs["numbers"].unbind(), inputs["state"])

        like = trees.leaves(state.lam)[0]
        given = torch.tensor(numbers(k), dtype=like.dtype).to(like.device, non_blocking=True)
        inputs: Tree = {"state": state, "numbers": given, "data": tasks.data}
        if t not in recorded:
            if not fixed:
                fixed.append(places_like(inputs))
            recorded[t] = replayed(compute, fixed[0], capture)
        moved: Moved = recorded[t](inputs)
        return moved

    return step
