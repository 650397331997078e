"""The dynamics against torch.optim and against their equations."""

from typing import Any

import pytest
import torch
from torch import Tensor

from core.bilevel import dynamics
from core.bilevel.problem import Dynamics

MATRIX = torch.tensor([[1.0, 0.2], [0.2, 0.5]], dtype=torch.float64)
START = torch.tensor([1.0, -2.0], dtype=torch.float64)


def loss(t: int, w: Any, lam: Any) -> Tensor:
    """Another objective at each step, as with minibatches."""
    return 0.5 * w @ MATRIX @ w - w.sum() * (1 + t % 3)


def iterates(phi: Dynamics, steps: int = 8) -> list[Any]:
    states = [phi.init(START)]
    for t in range(1, steps + 1):
        states.append(phi.step(t, states[-1], START))
    return states[1:]


def torch_iterates(make: Any, steps: int = 8) -> list[Tensor]:
    w = START.clone().requires_grad_()
    optimizer = make([w])
    found = []
    for t in range(1, steps + 1):
        optimizer.zero_grad()
        loss(t, w, None).backward()
        optimizer.step()
        found.append(w.detach().clone())
    return found


def init(lam: Any) -> Tensor:
    start: Tensor = lam
    return start


def test_gradient_descent_and_heavy_ball_are_sgd() -> None:
    plain = iterates(dynamics.gradient_descent(loss, init, rate=0.3))
    heavy = iterates(dynamics.heavy_ball(loss, init, rate=0.3, momentum=0.7))
    for found, momentum in ((plain, 0.0), (heavy, 0.7)):
        expected = torch_iterates(lambda w, m=momentum: torch.optim.SGD(w, lr=0.3, momentum=m))
        for state, w in zip(found, expected, strict=True):
            assert torch.allclose(state.w, w, rtol=1e-12)


def test_nesterov_is_sgd_at_the_looked_ahead_point() -> None:
    """torch.optim keeps y_t = w_t - eta mu v_t."""
    found = iterates(dynamics.nesterov(loss, init, rate=0.3, momentum=0.7))
    expected = torch_iterates(lambda w: torch.optim.SGD(w, lr=0.3, momentum=0.7, nesterov=True))
    for state, y in zip(found, expected, strict=True):
        assert torch.allclose(state.w - 0.3 * 0.7 * state.aux, y, rtol=1e-12)


def test_adam_is_adam() -> None:
    """With an epsilon so small that inside or outside the root makes no difference."""
    found = iterates(dynamics.adam(loss, init, rate=0.1, beta1=0.8, beta2=0.95, epsilon=1e-30))
    expected = torch_iterates(lambda w: torch.optim.Adam(w, lr=0.1, betas=(0.8, 0.95), eps=1e-30))
    for state, w in zip(found, expected, strict=True):
        assert torch.allclose(state.w, w, rtol=1e-10)


def test_adam_is_smooth_where_the_gradient_is_zero() -> None:
    phi = dynamics.adam(lambda t, w, lam: (w * 0).sum(), init, rate=0.1)
    slope = torch.func.jacrev(lambda lam: phi.step(1, phi.init(lam), lam).w)(START)
    assert torch.equal(slope, torch.eye(2, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["gradient_descent", "heavy_ball", "nesterov", "adam"])
def test_schedules_see_the_step(kind: str) -> None:
    """A rate that is 0 after the second step leaves the iterate where it is."""
    momentum = {} if kind in ("gradient_descent", "adam") else {"momentum": 0.5}
    phi = getattr(dynamics, kind)(loss, init, rate=lambda t, lam: torch.tensor(0.1 * (t <= 2)), **momentum)
    found = iterates(phi)
    assert not torch.equal(found[0].w, found[1].w)
    assert all(torch.equal(state.w, found[1].w) for state in found[2:])
