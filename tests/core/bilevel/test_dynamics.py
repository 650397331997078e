"""The dynamics against torch.optim and against their equations."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
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


def test_adamw_and_rmsprop_are_torchs() -> None:
    """With an epsilon so small that inside or outside the root makes no difference."""
    adamw = iterates(dynamics.adamw(loss, init, rate=0.1, decay=0.3, beta1=0.8, beta2=0.95, epsilon=1e-30))
    rmsprop = iterates(dynamics.rmsprop(loss, init, rate=0.1, beta=0.8, epsilon=1e-30))
    for found, make in (
        (adamw, lambda w: torch.optim.AdamW(w, lr=0.1, betas=(0.8, 0.95), eps=1e-30, weight_decay=0.3)),
        (rmsprop, lambda w: torch.optim.RMSprop(w, lr=0.1, alpha=0.8, eps=1e-30)),
    ):
        for state, w in zip(found, torch_iterates(make), strict=True):
            assert torch.allclose(state.w, w, rtol=1e-10)


def test_rmsprop_is_smooth_where_the_gradient_is_zero() -> None:
    phi = dynamics.rmsprop(lambda t, w, lam: (w * 0).sum(), init, rate=0.1)
    slope = torch.func.jacrev(lambda lam: phi.step(1, phi.init(lam), lam).w)(START)
    assert torch.equal(slope, torch.eye(2, dtype=torch.float64))


def valley(t: int, w: Any, lam: Any) -> Tensor:
    """Rosenbrock's, not convex."""
    return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2


@settings(max_examples=8, deadline=None, derandomize=True)
@given(rate=st.floats(1e-3, 1e4), shrink=st.floats(0.1, 0.8), decrease=st.floats(1e-4, 0.5))
def test_a_line_search_never_climbs_whatever_the_rate(rate: float, shrink: float, decrease: float) -> None:
    phi = dynamics.line_search(valley, init, rate=rate, shrink=shrink, decrease=decrease, trials=100)
    states = [phi.init(START), *iterates(phi, 30)]
    values = [float(valley(0, state.w, None)) for state in states]
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]
    for before, after in pairwise(states):  # each accepted step meets the condition, and the one before it did not
        gradient = torch.func.grad(valley, argnums=1)(0, before.w, None)
        eta = float((before.w - after.w) @ gradient / (gradient @ gradient))

        def enough(eta: float, w: Any = before.w, g: Any = gradient) -> bool:
            return bool(valley(0, w - eta * g, None) <= valley(0, w, None) - decrease * eta * g @ g * (1 - 1e-9))

        assert enough(eta)
        assert eta > 0.99 * rate or not enough(eta / shrink)


def test_a_line_search_takes_the_first_rate_where_it_is_good_and_else_stays() -> None:
    """On the quadratic with Hessian eigenvalues below 1.1 the rate 0.3 always descends; no trial is left at 1e4."""
    plain = iterates(dynamics.gradient_descent(loss, init, rate=0.3))
    searched = iterates(dynamics.line_search(loss, init, rate=0.3))
    assert all(torch.equal(a.w, b.w) for a, b in zip(plain, searched, strict=True))
    stuck = dynamics.line_search(loss, init, rate=1e4, trials=3)
    assert all(torch.equal(state.w, START) for state in iterates(stuck))


def test_a_line_search_gets_past_a_rate_at_which_the_objective_overflows() -> None:
    phi = dynamics.line_search(lambda t, w, lam: w.exp().sum() - w.sum(), init, rate=1e4, trials=60)
    assert torch.allclose(iterates(phi, 200)[-1].w, torch.zeros(2, dtype=torch.float64), atol=1e-3)


def test_adam_is_smooth_where_the_gradient_is_zero() -> None:
    phi = dynamics.adam(lambda t, w, lam: (w * 0).sum(), init, rate=0.1)
    slope = torch.func.jacrev(lambda lam: phi.step(1, phi.init(lam), lam).w)(START)
    assert torch.equal(slope, torch.eye(2, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["gradient_descent", "heavy_ball", "nesterov", "adam", "adamw", "rmsprop"])
def test_schedules_see_the_step(kind: str) -> None:
    """A rate that is 0 after the second step leaves the iterate where it is."""
    momentum = {"heavy_ball": {"momentum": 0.5}, "nesterov": {"momentum": 0.5}, "adamw": {"decay": 0.5}}.get(kind, {})
    phi = getattr(dynamics, kind)(loss, init, rate=lambda t, lam: torch.tensor(0.1 * (t <= 2)), **momentum)
    found = iterates(phi)
    assert not torch.equal(found[0].w, found[1].w)
    assert all(torch.equal(state.w, found[1].w) for state in found[2:])
