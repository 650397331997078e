"""A meta-batch a few tasks at a time: E is a mean over B tasks, so dE = sum over chunks c of (B_c / B) dE_c.

The graph of a chunk is gone before the next is made: memory is that of one chunk, time that of all together.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.problem import Dynamics, Hypergradient, Method, Problem, Tree


def in_chunks(method: Method) -> Method:
    """The method that runs `method` on chunks of tasks, where the problem asks for it, and adds up what it finds.

    For reverse-mode methods, whose hypergradient is the same either way.
    """

    def chunked(problem: Problem, dynamics: Dynamics, lam: Tree, *, steps: int) -> Hypergradient:
        parts = chunks(problem, dynamics)
        weight, stated = next(parts)
        if weight == 1:
            return method(*stated, lam, steps=steps)
        total = _weighted(method(*stated, lam, steps=steps), weight)
        for weight, stated in parts:
            total = _add(total, _weighted(method(*stated, lam, steps=steps), weight))
        return total

    return chunked


def chunks(problem: Problem, dynamics: Dynamics) -> Iterator[tuple[float, tuple[Problem, Dynamics]]]:
    """The share of the tasks that a chunk has, and its problem; all in one where the problem asks for no chunks."""
    tasks = problem.tasks
    if tasks is None or tasks.chunk is None:
        yield 1.0, (problem, dynamics)
        return
    leaves, structure = trees.flatten(tasks.data)
    for parts in zip(*(torch.split(leaf, tasks.chunk) for leaf in leaves), strict=True):
        yield len(parts[0]) / len(leaves[0]), tasks.state(trees.unflatten(list(parts), structure))


MEANS = ("buffer_bits",)
"""Diagnostics that are means over inner variables, of which every task has as many."""


def _weighted(found: Hypergradient, weight: float) -> Hypergradient:
    diagnostics = {name: weight * value if name in MEANS else value for name, value in found.diagnostics.items()}
    return found._replace(
        grad=trees.scale(weight, found.grad), outer_loss=weight * found.outer_loss, diagnostics=diagnostics
    )


def _add(one: Hypergradient, other: Hypergradient) -> Hypergradient:
    """Of two chunks: sums, and states one behind the other. Other diagnostics are norms or sums over tasks."""

    def joined(name: str) -> Tensor:
        x, y = one.diagnostics[name], other.diagnostics[name]
        return torch.hypot(x, y) if name.endswith("_norm") else x + y

    return Hypergradient(
        trees.add(one.grad, other.grad),
        one.outer_loss + other.outer_loss,
        trees.map_leaves(lambda x, y: torch.cat([x, y]), one.state, other.state),
        {name: joined(name) for name in one.diagnostics},
    )
