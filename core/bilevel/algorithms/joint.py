"""Multitask learning: heads and representation minimize L together (Baxter 1995; section 5.3 of the paper: `classic`).

L is a sum over the B tasks of a meta-batch. With t = k mod interval, both steps from the old point (s, lam):
s <- Phi_{t+1}(s, lam), lam <- project(optimizer(lam, grad_lam L(w, lam) / B)). Every `interval` hyperiterations, t = 0,
there are new tasks, whose heads start from w_0 = 0, where grad_lam L = 0. No step is differentiated through and E is
not met.
"""

from collections.abc import Callable
from functools import partial
from typing import cast

import torch

from core.bilevel import trees
from core.bilevel.algorithms.from_graphs import Moved, from_graphs
from core.bilevel.derivatives import gradient_and_value, vjp_once
from core.bilevel.embedding import composed
from core.bilevel.graphs import Capture
from core.bilevel.optimizers import Numbers, OuterOptimizer
from core.bilevel.problem import Algorithm, AlgorithmState, Dynamics, Problem, State, Tree


def joint(
    problem_at: Callable[[int], tuple[Problem, Dynamics]],
    optimizer: OuterOptimizer,
    project: Callable[[Tree], Tree],
    *,
    interval: int,
) -> Algorithm:
    """problem_at(m) is the m-th meta-batch, stated by its tasks and an embedding.

    Series at (w_k, lam_k): "outer_objective" is L / B, what lam descends along, "hypergradient_norm" the norm of its
    partial derivative by lam; "inner_objective" is L and "inner_gradient_norm" the norm of grad_w L.
    """

    def step(k: int, state: AlgorithmState) -> Moved:
        meta_batch, t = divmod(k, interval)
        numbers = _numbers(optimizer, interval, k)
        return _advance(t, *problem_at(meta_batch), numbers, state, move=optimizer.move, project=project)

    return _algorithm(problem_at, optimizer, torch.no_grad()(step))


def joint_from_graphs(
    problem_at: Callable[[int], tuple[Problem, Dynamics]],
    optimizer: OuterOptimizer,
    project: Callable[[Tree], Tree],
    *,
    interval: int,
    capture: Capture | None = None,
) -> Algorithm:
    """The same, each hyperiteration replayed from one of `interval` CUDA graphs, as `from_graphs` does."""
    advance = partial(_advance, move=optimizer.move, project=project)
    numbers = partial(_numbers, optimizer, interval)
    step = from_graphs(problem_at, advance, numbers, interval=interval, capture=capture)
    return _algorithm(problem_at, optimizer, step)


def _algorithm(
    problem_at: Callable[[int], tuple[Problem, Dynamics]],
    optimizer: OuterOptimizer,
    step: Callable[[int, AlgorithmState], Moved],
) -> Algorithm:
    @torch.no_grad()
    def init(lam: Tree) -> AlgorithmState:
        return AlgorithmState(lam, (optimizer.init(lam), composed(*problem_at(0))[1].init(lam)))

    return Algorithm(init, step, inner=lambda state: cast(State, state.aux[1]).w)


def _numbers(optimizer: OuterOptimizer, interval: int, k: int) -> tuple[float, ...]:
    """Of hyperiteration k; the first with a meta-batch makes no step."""
    return optimizer.numbers(k, max(k - k // interval - 1, 0))


def _advance(
    t: int,
    problem: Problem,
    dynamics: Dynamics,
    numbers: Numbers,
    state: AlgorithmState,
    *,
    move: Callable[[Numbers, Tree, Tree, Tree], tuple[Tree, Tree]],
    project: Callable[[Tree], Tree],
) -> Moved:
    """The t-th step on a meta-batch, for t = 0, 1, ..., without a tape."""
    assert problem.embed is not None
    assert problem.tasks is not None
    moments, reached = state.aux  # of the optimizer; of the heads
    z, pull = vjp_once(problem.embed, state.lam)
    s = reached if t else dynamics.init(z)
    (by_w, by_z), value = gradient_and_value(problem.inner, (0, 1))(s.w, z)
    tasks = len(trees.leaves(problem.tasks.data)[0])
    by_lam = trees.scale(1 / tasks, pull(by_z)[0])
    series = {
        "outer_objective": value / tasks,
        "hypergradient_norm": trees.norm(by_lam),
        "inner_objective": value,
        "inner_gradient_norm": trees.norm(by_w),
    }
    lam = state.lam
    if t:  # at w = 0 L does not depend on lam, which no momentum of the last meta-batch is to move
        lam, moments = move(numbers, by_lam, moments, lam)
    return AlgorithmState(project(lam), (moments, dynamics.step(t + 1, s, z))), series
