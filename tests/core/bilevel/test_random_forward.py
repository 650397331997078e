"""The forward gradient: unbiased, with the variance that it says, its directions functions of (seed, k, i)."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from core.bilevel import trees
from core.bilevel.dynamics import full_batch, heavy_ball
from core.bilevel.hypergradients import forward, random_forward, reverse
from core.bilevel.hypergradients.random_forward import Law, gaussian, rademacher
from core.bilevel.problem import Dynamics, Problem, Tree

LAWS = {"rademacher": rademacher, "gaussian": gaussian}
TARGET = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def inner(w: Any, lam: Any) -> Tensor:
    return 0.5 * (lam["strength"].exp() * (w - lam["centre"]) ** 2).sum() + 0.1 * (w**4).sum()


def outer(w: Any, lam: Any) -> Tensor:
    return 0.5 * ((w - TARGET) ** 2).sum() + 0.1 * lam["centre"].square().sum()


PROBLEM = Problem(inner, outer, lambda lam: 0 * lam["centre"])
PHI = heavy_ball(full_batch(inner), PROBLEM.init, rate=0.1, momentum=0.5)
LAM = {"centre": torch.tensor([0.3, 1.0, -0.7], dtype=torch.float64), "strength": torch.zeros((), dtype=torch.float64)}
WHOLE = trees.ravel(reverse(PROBLEM, PHI, LAM, steps=6).grad)[0]


def estimate(k: int = 0, **knobs: Any) -> tuple[Tensor, float]:
    """The estimate as a vector, and its variance."""
    found = random_forward(PROBLEM, PHI, LAM, **({"steps": 6, "seed": 3, "k": k} | knobs))
    return trees.ravel(found.grad)[0], float(found.diagnostics["hypergradient_variance"])


@pytest.mark.parametrize("scaled", [1, 2])
def test_an_orthonormal_basis_gives_the_gradient_itself(scaled: int) -> None:
    """sqrt(n) q_1 .. sqrt(n) q_n average to the identity, once or twice over."""
    n = len(WHOLE)
    q, _ = torch.linalg.qr(torch.randn(n, n, generator=Generator().manual_seed(0), dtype=torch.float64))
    rows = iter([row * n**0.5 for row in q] * scaled)
    found, _ = estimate(directions=n * scaled, law=Law(lambda size, generator: next(rows), 1.0))
    torch.testing.assert_close(found, WHOLE, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", LAWS)
def test_many_directions_give_the_gradient_within_the_reported_variance(name: str) -> None:
    law, n, directions = LAWS[name], len(WHOLE), 10_000
    found, variance = estimate(directions=directions, law=law)
    assert variance == pytest.approx((n + law.fourth_moment - 2) / directions * float(WHOLE @ WHOLE), rel=0.1)
    assert float((found - WHOLE).norm()) < 3 * variance**0.5
    assert 3 * variance**0.5 < 0.1 * float(WHOLE.norm())


@pytest.mark.parametrize("name", LAWS)
def test_the_spread_over_hyperiterations_is_the_reported_variance(name: str) -> None:
    found = [estimate(k, directions=3, law=LAWS[name], steps=1) for k in range(100)]
    spread = float(torch.stack([grad for grad, _ in found]).var(0).sum())
    assert sum(variance for _, variance in found) / len(found) == pytest.approx(spread, rel=0.25)


@pytest.mark.parametrize("name", LAWS)
def test_a_law_has_the_moments_that_it_says(name: str) -> None:
    drawn = LAWS[name].draw(200_000, Generator().manual_seed(1))
    assert float(drawn.mean()) == pytest.approx(0, abs=0.02)
    assert float(drawn.square().mean()) == pytest.approx(1, rel=0.02)
    assert float(drawn.pow(4).mean()) == pytest.approx(LAWS[name].fourth_moment, rel=0.05)


def test_one_outer_variable_and_signs_leave_no_variance() -> None:
    problem = Problem(lambda w, lam: 0.5 * (w - lam) ** 2, lambda w, lam: 0.5 * (w - 1) ** 2, lambda lam: 0 * lam)
    phi = heavy_ball(full_batch(problem.inner), problem.init, rate=0.1, momentum=0.5)
    lam = torch.tensor(2.0, dtype=torch.float64)
    found = random_forward(problem, phi, lam, steps=4, seed=0, k=0)
    torch.testing.assert_close(found.grad, reverse(problem, phi, lam, steps=4).grad)
    assert found.diagnostics["hypergradient_variance"] == 0


def test_directions_depend_on_seed_and_hyperiteration_only_and_are_shared_by_chunks() -> None:
    first, variance = estimate(4, directions=7)
    for again in (estimate(4, directions=7), estimate(4, directions=7, chunk=3), estimate(4, directions=7, chunk=1)):
        torch.testing.assert_close(again[0], first, rtol=1e-12, atol=0)
        assert again[1] == pytest.approx(variance, rel=1e-12)
    assert not torch.allclose(estimate(5, directions=7)[0], first)
    assert not torch.allclose(estimate(4, directions=7, seed=8)[0], first)


def test_the_walk_is_that_of_the_other_methods() -> None:
    expected = reverse(PROBLEM, PHI, LAM, steps=6)
    found = random_forward(PROBLEM, PHI, LAM, steps=6, seed=0, k=0)
    assert torch.equal(found.outer_loss, expected.outer_loss)
    assert all(torch.equal(a, b) for a, b in zip(trees.leaves(found.state), trees.leaves(expected.state), strict=True))
    assert all(torch.equal(value, found.diagnostics[name]) for name, value in expected.diagnostics.items())
    assert not any(leaf.requires_grad for leaf in trees.leaves(found.grad))


@pytest.mark.parametrize("method", [partial(random_forward, seed=0, k=0, directions=7), forward])
@pytest.mark.parametrize("chunk", [1, 2, 3, None])
def test_each_chunk_runs_the_dynamics_once_and_changes_nothing(method: Any, chunk: int | None) -> None:
    walks = 0

    def step(t: int, s: Any, lam: Tree) -> Any:
        nonlocal walks
        walks += t == 1
        return PHI.step(t, s, lam)

    whole = method(PROBLEM, PHI, LAM, steps=6)
    found = method(PROBLEM, Dynamics(PHI.init, step), LAM, steps=6, chunk=chunk)
    total = 7 if method is not forward else len(WHOLE)
    assert walks == (1 if chunk is None else -(-total // chunk))
    torch.testing.assert_close(found.grad, whole.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (partial(forward, chunk=0), "chunk is 0"),
        (partial(random_forward, seed=0, k=0, chunk=-1), "chunk is -1"),
        (partial(random_forward, seed=0, k=0, directions=0), "directions is 0"),
    ],
)
def test_impossible_knobs_are_refused(method: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method(PROBLEM, PHI, LAM, steps=3)


def test_single_precision_and_many_variables() -> None:
    """100 000 outer variables, float32: every direction is a tree like lam, and the estimate points uphill."""
    n = 100_000
    problem = Problem(lambda w, lam: 0.5 * (w - lam.mean()) ** 2, lambda w, lam: w + lam.sum() / n, lambda lam: lam[0])
    phi = heavy_ball(full_batch(problem.inner), problem.init, rate=0.5, momentum=0.0)
    found = random_forward(problem, phi, torch.zeros(n), steps=3, seed=0, k=0, directions=2)
    assert isinstance(found.grad, Tensor)
    assert found.grad.dtype == torch.float32
    whole = reverse(problem, phi, torch.zeros(n), steps=3).grad
    assert trees.dot(found.grad, whole) > 0
    assert found.diagnostics["hypergradient_variance"].dtype == torch.float32
