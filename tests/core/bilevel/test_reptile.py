"""Reptile written out where the inner steps are, and what it is where they are few or the tasks are one."""

import torch
from torch import Tensor

from core.bilevel.dynamics import full_batch, gradient_descent
from core.bilevel.hypergradients import reptile, reverse
from core.bilevel.problem import Dynamics, Problem, Tree

TARGETS = torch.tensor([[1.0, 2.0], [3.0, -1.0], [0.0, 4.0]], dtype=torch.float64)
LAM = torch.tensor([0.5, -0.5], dtype=torch.float64)
RATE = 0.2


def stated() -> tuple[Problem, Dynamics]:
    """Each task pulls its own w [2] from lam towards its target, by 1 - (1 - RATE)^T of the way."""

    def inner(w: Tree, lam: Tree) -> Tensor:
        assert isinstance(w, Tensor)
        return 0.5 * (w - TARGETS).square().sum()

    def init(lam: Tree) -> Tensor:
        assert isinstance(lam, Tensor)
        return lam.expand(len(TARGETS), 2)

    def outer(w: Tree, lam: Tree) -> Tensor:
        assert isinstance(w, Tensor)
        return w.square().sum(1).mean()

    return Problem(inner, outer, init), gradient_descent(full_batch(inner), init, rate=RATE)


def test_the_mean_over_tasks_of_the_way_back() -> None:
    for steps in (0, 1, 7):
        found = reptile(*stated(), LAM, steps=steps)
        part = 1 - (1 - RATE) ** steps
        torch.testing.assert_close(found.grad, part * (LAM - TARGETS.mean(0)))
        torch.testing.assert_close(found.outer_loss, reverse(*stated(), LAM, steps=steps).outer_loss)


def test_one_step_against_it_moves_to_the_mean_of_the_ends() -> None:
    found = reptile(*stated(), LAM, steps=5)
    w = found.state.w
    assert isinstance(w, Tensor)
    assert isinstance(found.grad, Tensor)
    torch.testing.assert_close(LAM - found.grad, w.mean(0))
