"""Outer optimizers against torch.optim with the same decay."""

from typing import Any

import pytest
import torch

from core.bilevel import optimizers, trees
from core.bilevel.optimizers import OuterOptimizer
from core.bilevel.problem import Tree

CASES = {
    "sgd": (lambda rate: optimizers.sgd(rate=rate), lambda w: torch.optim.SGD(w, lr=0.1)),
    "momentum": (
        lambda rate: optimizers.momentum(rate=rate, momentum=0.8),
        lambda w: torch.optim.SGD(w, lr=0.1, momentum=0.8),
    ),
    "adam": (
        lambda rate: optimizers.adam(rate=rate, beta1=0.8, beta2=0.9, epsilon=1e-3),
        lambda w: torch.optim.Adam(w, lr=0.1, betas=(0.8, 0.9), eps=1e-3),
    ),
}


RATES = {
    "constant": optimizers.inverse_time(0.1),
    "inverse time": optimizers.inverse_time(0.1, 0.5),
    "cosine": optimizers.cosine(optimizers.inverse_time(0.1, 0.5), 9),
}


@pytest.mark.parametrize("rate", RATES.values(), ids=RATES)
@pytest.mark.parametrize("name", CASES)
def test_is_torchs(name: str, rate: optimizers.Rates) -> None:
    make, make_torch = CASES[name]
    ours: OuterOptimizer = make(rate)
    generator = torch.Generator().manual_seed(0)
    lam: Any = {"a": torch.randn(3, generator=generator, dtype=torch.float64), "b": torch.ones((), dtype=torch.float64)}
    theirs = [leaf.clone().requires_grad_() for leaf in lam.values()]
    optimizer: Any = make_torch(theirs)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: rate(k) / 0.1)
    state = ours.init(lam)
    for k in range(7):
        grad = trees.map_leaves(lambda leaf: torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype), lam)
        lam, state = ours.step(k, grad, state, lam)
        for parameter, leaf in zip(theirs, grad.values(), strict=True):
            parameter.grad = leaf
        optimizer.step()
        schedule.step()
        for parameter, leaf in zip(theirs, lam.values(), strict=True):
            assert torch.allclose(parameter, leaf, rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_a_step_changes_nothing_in_place(name: str) -> None:
    ours: OuterOptimizer = CASES[name][0](optimizers.inverse_time(0.1))
    lam, grad = torch.ones(3), torch.ones(3)
    state = ours.init(lam)
    before = [leaf.clone() for leaf in trees.leaves(state)]
    ours.step(0, grad, state, lam)
    assert torch.equal(lam, torch.ones(3))
    assert torch.equal(grad, torch.ones(3))
    assert all(torch.equal(a, b) for a, b in zip(before, trees.leaves(state), strict=True))


def test_inverse_time_decay() -> None:
    rate = optimizers.inverse_time(1e-3, 1e-5)
    assert rate(0) == 1e-3
    assert rate(50_000) == pytest.approx(1e-3 / 1.5)


def test_cosine_is_torchs() -> None:
    parameter = torch.nn.Parameter(torch.zeros(()))
    theirs = torch.optim.SGD([parameter], lr=0.3)
    annealing = torch.optim.lr_scheduler.CosineAnnealingLR(theirs, T_max=20)
    ours = optimizers.cosine(optimizers.inverse_time(0.3), 20)
    for k in range(21):
        assert ours(k) == pytest.approx(theirs.param_groups[0]["lr"], abs=1e-15)
        theirs.step()
        annealing.step()


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e20])
def test_clipping_is_torchs(size: float) -> None:
    seen = []

    def move(numbers: object, grad: Tree, state: Tree, lam: Tree) -> tuple[Tree, Tree]:
        seen.append(grad)
        return lam, state

    spy = OuterOptimizer(lambda lam: (), lambda k, m: (), move)
    grad = {"a": size * torch.ones(3, dtype=torch.float64), "b": -2 * size * torch.ones((), dtype=torch.float64)}
    lam = {name: torch.zeros_like(leaf) for name, leaf in grad.items()}
    optimizers.clipped(spy, largest=0.5).step(0, grad, (), lam)
    parameters = [torch.nn.Parameter(leaf) for leaf in lam.values()]
    for parameter, leaf in zip(parameters, grad.values(), strict=True):
        parameter.grad = leaf.clone()
    torch.nn.utils.clip_grad_norm_(parameters, 0.5)
    for found, parameter in zip(trees.leaves(seen[0]), parameters, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(found, parameter.grad, rtol=1e-5, atol=0)


def test_clipping_leaves_a_gradient_of_zero_at_zero() -> None:
    optimizer = optimizers.clipped(optimizers.sgd(rate=optimizers.inverse_time(1.0)), largest=1.0)
    lam, _ = optimizer.step(0, torch.zeros(3), (), torch.ones(3))
    assert torch.equal(lam, torch.ones(3))


@pytest.mark.parametrize("name", CASES)
def test_variables_are_moved_by_name_whatever_their_order(name: str) -> None:
    ours: OuterOptimizer = CASES[name][0](optimizers.inverse_time(0.1))
    lam: Any = {"a": torch.ones(2), "b": torch.zeros(2)}
    grad: Any = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([-3.0, 0.5])}

    def moved(*, turned: bool) -> Any:
        here, state = lam, ours.init(lam)
        for k in range(3):
            here, state = ours.step(k, grad, state, here)
            here = dict(reversed(here.items())) if turned else here
        return here

    torch.testing.assert_close(moved(turned=True), moved(turned=False))
