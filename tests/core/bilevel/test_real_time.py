"""Real-time hypergradients: one inner run, against nested methods and against the recursion by hand."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from core.bilevel import optimizers, trees
from core.bilevel.algorithms import carried_forward, nested, real_time
from core.bilevel.dynamics import full_batch, gradient_descent, heavy_ball
from core.bilevel.hypergradients import forward, reverse
from core.bilevel.problem import Algorithm, AlgorithmState, Dynamics, MethodSeries, Problem, Tree, steady
from core.checkpointing import pack, unpack

METHODS = {"forward": carried_forward, "reverse": steady(reverse)}
NESTED = {"forward": forward, "reverse": reverse}
CURVATURE = torch.linspace(0.2, 1.0, 4, dtype=torch.float64)
TARGET = torch.tensor([1.0, -1.0, 0.5, 2.0], dtype=torch.float64)


def keep(lam: Tree) -> Tree:
    return lam


def problem() -> tuple[Problem, Dynamics, Any]:
    """L = 1/2 w'Aw - w'own + coupling cos(w_1); outer variables are own, w_0 and the logarithm of the rate."""

    def inner(w: Any, lam: Any) -> Tensor:
        return 0.5 * (CURVATURE * w**2).sum() - w @ lam["own"] + 0.1 * w[0].cos()

    def outer(w: Any, lam: Any) -> Tensor:
        return 0.5 * ((w - TARGET) ** 2).sum() + 0.01 * (lam["own"] ** 2).sum()

    stated = Problem(inner, outer, lambda lam: lam["start"])
    phi = heavy_ball(
        full_batch(inner), stated.init, rate=lambda t, lam: lam["rate"].exp() / (1 + 0.05 * t), momentum=0.5
    )
    lam = {"own": TARGET / 2, "start": TARGET / 3, "rate": torch.tensor(-2.0, dtype=torch.float64)}
    return stated, phi, lam


def go(algorithm: Algorithm, lam: Tree, end: int) -> tuple[AlgorithmState, list[Any]]:
    state, series = algorithm.init(lam), []
    for k in range(end):
        state, values = algorithm.step(k, state)
        series.append(values)
    return state, series


def close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("mode", METHODS)
def test_one_interval_of_all_steps_is_the_nested_method(mode: str) -> None:
    stated, phi, lam = problem()
    optimizer = optimizers.momentum(rate=optimizers.inverse_time(0.1))
    plain = nested(lambda k: (stated, phi), steady(NESTED[mode]), optimizer, keep, steps=15)
    expected, expected_series = plain.step(0, plain.init(lam))
    algorithm = real_time(lambda k: (stated, phi), METHODS[mode], optimizer, keep, interval=15)
    found, series = algorithm.step(0, algorithm.init(lam))
    close(found.lam, expected.lam)
    close(dict(series), dict(expected_series))


def test_forward_is_the_recursion_that_is_never_reset() -> None:
    """Z_t = A_t Z_{t-1} + B_t by hand, with Jacobians of whole steps, at the lam of the time."""
    stated, phi, lam = problem()
    algorithm = real_time(
        lambda k: (stated, phi), carried_forward, optimizers.sgd(rate=optimizers.inverse_time(0.2)), keep, interval=3
    )
    state, series = go(algorithm, lam, 4)

    by_hand, unravel = trees.ravel(lam)
    s = phi.init(lam)
    flat, unravel_state = trees.ravel(s)
    Z = torch.func.jacrev(lambda x: trees.ravel(phi.init(unravel(x)))[0])(by_hand)
    for k in range(4):
        for t in range(3 * k + 1, 3 * k + 4):

            def step(s: Tensor, x: Tensor, t: int = t) -> Tensor:
                return trees.ravel(phi.step(t, unravel_state(s), unravel(x)))[0]

            A, B = torch.func.jacrev(step, argnums=(0, 1))(flat, by_hand)
            flat, Z = step(flat, by_hand), A @ Z + B

        def loss(s: Tensor, x: Tensor) -> Tensor:
            return stated.outer(unravel_state(s).w, unravel(x))

        slope, direct = torch.func.grad(loss, argnums=(0, 1))(flat, by_hand)
        gradient = slope @ Z + direct
        close(series[k]["hypergradient_norm"], gradient.norm())
        close(series[k]["outer_objective"], loss(flat, by_hand))
        by_hand = by_hand - 0.2 * gradient
    close(trees.ravel(state.lam)[0], by_hand)
    assert algorithm.inner is not None
    close(algorithm.inner(state), unravel_state(flat).w)


def test_reverse_sees_the_last_interval_only() -> None:
    """From the second hyperiteration on, w_0 has no derivative; a window cuts the interval further."""
    stated, phi, lam = problem()
    for window in (None, 2):
        method: MethodSeries = steady(partial(reverse, truncate=window))
        algorithm = real_time(
            lambda k: (stated, phi), method, optimizers.sgd(rate=optimizers.inverse_time(0.2)), keep, interval=5
        )
        first, _ = algorithm.step(0, algorithm.init(lam))
        second, _ = algorithm.step(1, first)
        moved = trees.subtract(first.lam, lam)["start"]
        assert bool(moved.any()) == (window is None)
        assert torch.equal(first.lam["start"], second.lam["start"])  # type: ignore[call-overload, index]

        reached = first.aux[1]  # type: ignore[index]
        later = Dynamics(lambda lam, s=reached: s, lambda i, s, lam: phi.step(5 + i, s, lam))  # type: ignore[misc]
        grad = forward(stated, later, first.lam, steps=5).grad
        if window is None:
            close(second.lam, trees.axpy(-0.2, grad, first.lam))


@pytest.mark.parametrize("mode", METHODS)
def test_a_better_rate_is_found_on_the_way(mode: str) -> None:
    """Gradient descent on quadratics whose rate starts 20 times too small; E = L, as the outer variable is the rate."""

    def inner(w: Any, lam: Any) -> Tensor:
        return 0.5 * (CURVATURE * (w - TARGET) ** 2).sum()

    stated = Problem(inner, inner, lambda lam: torch.zeros_like(TARGET))
    phi = gradient_descent(full_batch(inner), stated.init, rate=lambda t, lam: lam.exp())
    lam = torch.tensor(0.05, dtype=torch.float64).log()
    learned = real_time(
        lambda k: (stated, phi), METHODS[mode], optimizers.adam(rate=optimizers.inverse_time(0.1)), keep, interval=5
    )
    fixed = real_time(
        lambda k: (stated, phi), METHODS[mode], optimizers.sgd(rate=optimizers.inverse_time(1e-300)), keep, interval=5
    )
    found, series = go(learned, lam, 20)
    _, expected = go(fixed, lam, 20)
    assert float(series[-1]["outer_objective"]) < 0.25 * float(expected[-1]["outer_objective"])
    assert 0.1 < float(found.lam.exp()) < 2.0  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", METHODS)
def test_resumes_to_the_bit(mode: str) -> None:
    stated, phi, lam = problem()
    algorithm = real_time(
        lambda k: (stated, phi), METHODS[mode], optimizers.adam(rate=optimizers.inverse_time(0.1)), keep, interval=3
    )
    whole, _ = go(algorithm, lam, 5)
    part, _ = go(algorithm, lam, 2)
    named, _ = unpack(pack(trees.named_leaves(part), {}))
    part = trees.from_named_leaves(algorithm.init(lam), named)
    for k in range(2, 5):
        part, _ = algorithm.step(k, part)
    assert all(map(torch.equal, trees.leaves(part), trees.leaves(whole)))
