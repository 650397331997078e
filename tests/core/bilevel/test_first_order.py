"""First order: a reverse pass that takes no step back."""

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.dynamics import full_batch, gradient_descent
from core.bilevel.hypergradients import first_order, reverse
from core.bilevel.problem import Dynamics, Problem, Tree

A = torch.diag(torch.tensor([1.0, 0.5], dtype=torch.float64))
C = torch.tensor([0.3, -0.7], dtype=torch.float64)
LAM = torch.tensor([0.4, 1.1], dtype=torch.float64)


def stated(curvature: Tensor, *, from_lam: bool) -> tuple[Problem, Dynamics]:
    """L = 1/2 w'Aw - w'lam, E = 1/2 ||w - c||^2 + 1/2 ||lam||^2."""

    def inner(w: Tree, lam: Tree) -> Tensor:
        assert isinstance(w, Tensor)
        assert isinstance(lam, Tensor)
        return 0.5 * w @ curvature @ w - w @ (torch.ones_like(lam) if from_lam else lam)

    def outer(w: Tree, lam: Tree) -> Tensor:
        assert isinstance(w, Tensor)
        assert isinstance(lam, Tensor)
        return 0.5 * (w - C).square().sum() + 0.5 * lam.square().sum()

    def init(lam: Tree) -> Tree:
        return lam if from_lam else torch.zeros_like(LAM)

    return Problem(inner, outer, init), gradient_descent(full_batch(inner), init, rate=0.3)


def test_from_a_fixed_start_only_the_direct_term_is_left() -> None:
    found = first_order(*stated(A, from_lam=False), LAM, steps=5)
    assert isinstance(found.grad, Tensor)
    torch.testing.assert_close(found.grad, LAM)
    full = reverse(*stated(A, from_lam=False), LAM, steps=5)
    assert float(trees.norm(trees.subtract(full.grad, found.grad))) > 0.1
    torch.testing.assert_close(found.outer_loss, full.outer_loss)
    torch.testing.assert_close(found.state, full.state)
    assert found.diagnostics.keys() == full.diagnostics.keys()


def test_from_a_learned_start_it_is_the_gradient_at_the_end() -> None:
    found = first_order(*stated(A, from_lam=True), LAM, steps=5)
    w = found.state.w
    assert isinstance(w, Tensor)
    torch.testing.assert_close(found.grad, w - C + LAM)


def test_it_is_the_whole_where_the_hessian_vanishes() -> None:
    flat = stated(torch.zeros_like(A), from_lam=True)
    torch.testing.assert_close(first_order(*flat, LAM, steps=5).grad, reverse(*flat, LAM, steps=5).grad)


def test_without_steps_it_is_the_whole() -> None:
    problem = stated(A, from_lam=True)
    torch.testing.assert_close(first_order(*problem, LAM, steps=0).grad, reverse(*problem, LAM, steps=0).grad)
