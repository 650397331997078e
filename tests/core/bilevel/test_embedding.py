"""Through the embedding = the plain formulation in lam; and the embedding runs once."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from core.bilevel import dynamics, trees
from core.bilevel.embedding import composed, through_embedding
from core.bilevel.hypergradients import exact, forward, random_forward, reverse
from core.bilevel.problem import Dynamics, Problem, Tree
from tests.core.bilevel import methods

METHODS = {**methods.METHODS, "exact": exact}


def ridge_on_features(calls: list[int]) -> tuple[Problem, Dynamics, dict[str, Tensor]]:
    """Ridge regression on features of a small network; the embedding also hands on a strength, a start and a rate."""
    generator = torch.Generator().manual_seed(11)
    n, d = 8, 3
    x, xv, y, yv = (torch.randn(n, m, generator=generator, dtype=torch.float64) for m in (2, 2, 1, 1))

    def embed(lam: Any) -> Tree:
        calls.append(1)
        features = (torch.cat([x, xv]) @ lam["first"]).tanh() @ lam["second"]
        return {"train": features[:n], "valid": features[n:], "strength": lam["strength"].exp(), "rate": lam["rate"]}

    def inner(w: Any, z: Any) -> Tensor:
        return 0.5 * ((z["train"] @ w - y) ** 2).mean() + 0.5 * z["strength"] * (w**2).sum()

    def solution(z: Any) -> Tree:
        identity = torch.eye(d, dtype=torch.float64)
        return torch.linalg.solve(z["train"].T @ z["train"] / n + z["strength"] * identity, z["train"].T @ y / n)

    problem = Problem(
        inner=inner,
        outer=lambda w, z: 0.5 * ((z["valid"] @ w - yv) ** 2).mean(),
        init=lambda z: z["strength"] * torch.ones(d, 1, dtype=torch.float64),
        solution=solution,
        embed=embed,
    )
    phi = dynamics.gradient_descent(dynamics.full_batch(inner), problem.init, rate=lambda t, z: z["rate"].exp())
    lam = {
        "first": torch.randn(2, 4, generator=generator, dtype=torch.float64),
        "second": torch.randn(4, d, generator=generator, dtype=torch.float64),
        "strength": torch.tensor(-1.0, dtype=torch.float64),
        "rate": torch.tensor(-2.0, dtype=torch.float64),
    }
    return problem, phi, lam


@pytest.mark.parametrize("name", METHODS)
def test_factored_is_composed(name: str) -> None:
    calls: list[int] = []
    problem, phi, lam = ridge_on_features(calls)
    found = through_embedding(METHODS[name])(problem, phi, lam, steps=7)
    assert len(calls) == 1
    expected = METHODS[name](*composed(problem, phi), lam, steps=7)
    assert len(calls) > 2
    assert trees.norm(trees.subtract(found.grad, expected.grad)) <= 1e-9 * trees.norm(expected.grad)
    assert torch.allclose(found.outer_loss, expected.outer_loss, rtol=1e-12)
    assert not any(leaf.requires_grad for leaf in trees.leaves(found.grad))
    if name != "exact":
        assert trees.norm(found.state.w) > 0


@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize("method", [forward, partial(random_forward, seed=0, k=0, directions=6)])
def test_forward_mode_takes_the_tangents_through_the_embedding(method: Any, chunk: int | None) -> None:
    calls: list[int] = []
    problem, phi, lam = ridge_on_features(calls)
    found = method(problem, phi, lam, steps=7, chunk=chunk)
    directions = 6 if method is not forward else trees.size(lam)
    assert len(calls) == (1 if chunk is None else -(-directions // chunk))
    expected = method(*composed(problem, phi), lam, steps=7, chunk=chunk)
    assert trees.norm(trees.subtract(found.grad, expected.grad)) <= 1e-12 * trees.norm(expected.grad)
    assert found.diagnostics.keys() == expected.diagnostics.keys()


def test_without_an_embedding_the_method_runs_as_it_is() -> None:
    problem, phi, lam = ridge_on_features([])
    plain, plain_phi = composed(problem, phi)
    assert composed(plain, plain_phi) == (plain, plain_phi)
    found = through_embedding(reverse)(plain, plain_phi, lam, steps=4)
    expected = reverse(plain, plain_phi, lam, steps=4)
    assert all(torch.equal(a, b) for a, b in zip(trees.leaves(found.grad), trees.leaves(expected.grad), strict=True))
