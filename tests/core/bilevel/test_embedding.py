"""Through the embedding = the plain formulation in lam; and the embedding runs once."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from core.bilevel import dynamics, linear_solve, trees
from core.bilevel.embedding import composed, through_embedding
from core.bilevel.hypergradients import dynamics_fixed_point, exact, forward, implicit, reverse, unrolled
from core.bilevel.problem import Dynamics, Method, Problem, Tree

METHODS: dict[str, Method] = {
    "unrolled": unrolled,
    "reverse": reverse,
    "segmented": partial(reverse, segment=3),
    "truncated": partial(reverse, truncate=3),
    "forward": forward,
    "cg": partial(implicit, solve=linear_solve.cg),
    "fixed_point": partial(implicit, solve=linear_solve.fixed_point, condition=dynamics_fixed_point),
    "exact": exact,
}


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


def test_without_an_embedding_the_method_runs_as_it_is() -> None:
    problem, phi, lam = ridge_on_features([])
    plain, plain_phi = composed(problem, phi)
    assert composed(plain, plain_phi) == (plain, plain_phi)
    found = through_embedding(reverse)(plain, plain_phi, lam, steps=4)
    expected = reverse(plain, plain_phi, lam, steps=4)
    assert all(torch.equal(a, b) for a, b in zip(trees.leaves(found.grad), trees.leaves(expected.grad), strict=True))
