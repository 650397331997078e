"""Hyperiterations replayed from a CUDA graph: launching its kernels one by one takes a GPU longer than running them.

What differs from one hyperiteration to the next, lam and the data of the tasks, is copied into tensors that stay where
they are; the graph that was captured on them is replayed; what it leaves is copied out.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.fused import device_of
from core.bilevel.problem import Dynamics, Hypergradient, Method, Problem, Tasks, Tree


class Recorded(NamedTuple):
    """A computation that can be run again on the same memory."""

    output: Any
    """The tree that holds its results after each replay."""
    replay: Callable[[], None]


Capture = Callable[[Callable[[], Any]], Recorded]


def capture_cuda(compute: Callable[[], Any], pool: Any = None) -> Recorded:
    """Records the kernels that `compute` launches; it must not wait for the device.

    Graphs of one pool use the same memory: what one leaves is there until the next is replayed.
    """
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # libraries choose kernels and allocate workspaces before the capture
            compute()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        output = compute()
    return Recorded(output, graph.replay)


def replayed(compute: Callable[[Any], Any], fixed: Tree, capture: Capture = capture_cuda) -> Callable[[Tree], Any]:
    """The same function of trees like `fixed`, recorded now on this memory, which is overwritten at every call.

    Several may share it. It raises ValueError for a tree of another structure, or with leaves of another
    shape, format or device.
    """
    places, order = trees.flatten(fixed)
    with device_of(places[0]):  # what is captured is a stream of the current device
        output, replay = capture(lambda: compute(fixed))
    (left, structure), there = trees.flatten(output), _kinds(places)

    def again(inputs: Tree) -> Any:
        given = trees.leaves_as(order, inputs)
        if (here := _kinds(given)) != there:
            raise ValueError(f"a graph that was captured with tensors {there} cannot be replayed with {here}")
        torch._foreach_copy_(places, given)
        with device_of(places[0]):
            replay()
        found = [torch.empty_like(leaf) for leaf in left]
        torch._foreach_copy_(found, left)  # all at once: each launch takes longer than such a copy
        return trees.unflatten(found, structure)

    return again


def places_like(inputs: Tree) -> Tree:
    """Memory of their own for inputs like these."""
    places: Tree = trees.map_leaves(torch.clone, inputs)
    return places


def graphed(method: Method, capture: Capture = capture_cuda) -> Method:
    """The method that records `method` at its first call for a number of steps, and replays it from then on.

    For meta-batches (`Problem.tasks`) whose shapes never change, and methods that never wait for the device.
    """
    recorded: dict[int, Callable[[Tree], Any]] = {}

    def through_graph(problem: Problem, dynamics: Dynamics, lam: Tree, *, steps: int) -> Hypergradient:
        tasks = tasks_of(problem)

        def compute(inputs: Any) -> Hypergradient:
            return method(*restated(tasks, inputs["data"]), inputs["lam"], steps=steps)

        inputs: Tree = {"lam": trees.detach(lam), "data": tasks.data}
        if steps not in recorded:
            recorded[steps] = replayed(compute, places_like(inputs), capture)
        found: Hypergradient = recorded[steps](inputs)
        return found

    return through_graph


def tasks_of(problem: Problem) -> Tasks:
    """What differs between hyperiterations; raises ValueError where the problem does not say."""
    if problem.tasks is None:
        raise ValueError("only a problem that is stated by its tasks can be captured: what else changes is unknown")
    return problem.tasks


def restated(tasks: Tasks, data: Tree) -> tuple[Problem, Dynamics]:
    """The problem of these tasks with other data."""
    problem, dynamics = tasks.state(data)
    return replace(problem, tasks=tasks._replace(data=data)), dynamics


def _kinds(leaves: list[Tensor]) -> list[tuple[tuple[int, ...], torch.dtype, torch.device]]:
    return [(tuple(leaf.shape), leaf.dtype, leaf.device) for leaf in leaves]
