"""The dual walk = reverse mode on the plain heads."""

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from core.bilevel import softmax_heads, softmax_walk, trees
from core.bilevel.dynamics import Scalar, full_batch, gradient_descent
from core.bilevel.embedding import composed, through_embedding
from core.bilevel.hypergradients import reverse, unrolled
from core.bilevel.hypergradients.inner import run
from core.bilevel.problem import Dynamics, Method, Problem, Tree


def rate_from_z(t: int, z: Any) -> Tensor:
    rate: Tensor = z["log_rate"].exp() / (1 + 0.2 * t)
    return rate


def pieces(
    generator: torch.Generator,
    *,
    tasks: int,
    sizes: tuple[int, int, int],
    way: int,
    shared: bool,
    l2: float,
    rate: Scalar,
) -> tuple[Problem, Dynamics, Method, dict[str, Tensor]]:
    """The plain problem and dynamics, the dual walk, and z."""
    n, q, d = sizes
    leading = () if shared else (tasks,)
    support_labels = torch.randint(way, (*leading, n), generator=generator)
    query_labels = torch.randint(way, (*leading, q), generator=generator)
    inner = partial(softmax_heads.inner_objective, support_labels=support_labels, l2=l2)
    problem = Problem(
        inner,
        partial(softmax_heads.outer_objective, query_labels=query_labels),
        partial(softmax_heads.init, way=way),
    )
    walk = partial(
        softmax_heads.dual_walk,
        support_labels=support_labels,
        query_labels=query_labels,
        way=way,
        rate=rate,
        l2=l2,
    )
    z = {
        "support": torch.randn(tasks, n, d, generator=generator, dtype=torch.float64),
        "query": torch.randn(tasks, q, d, generator=generator, dtype=torch.float64),
        "log_rate": torch.tensor(-0.7, dtype=torch.float64),
    }
    return problem, gradient_descent(full_batch(inner), problem.init, rate=rate), walk, z


def assert_same(found: Any, expected: Any) -> None:
    assert trees.norm(trees.subtract(found.grad, expected.grad)) <= 1e-9 * trees.norm(expected.grad)
    assert torch.allclose(found.outer_loss, expected.outer_loss, rtol=1e-12)
    assert torch.allclose(found.state.w, expected.state.w, rtol=1e-9, atol=1e-12)
    assert found.diagnostics.keys() == expected.diagnostics.keys()
    for name, value in expected.diagnostics.items():
        assert torch.allclose(found.diagnostics[name], value, rtol=1e-9), name


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32),
    tasks=st.integers(1, 3),
    sizes=st.tuples(st.integers(1, 7), st.integers(1, 6), st.integers(1, 7)),
    way=st.integers(2, 4),
    shared=st.booleans(),
    l2=st.sampled_from([0.0, 0.3]),
    learned=st.booleans(),
    steps=st.integers(0, 8),
)
def test_dual_walk_is_reverse(
    seed: int, tasks: int, sizes: tuple[int, int, int], way: int, shared: bool, l2: float, learned: bool, steps: int
) -> None:
    rate: Scalar = rate_from_z if learned else 0.3
    problem, phi, walk, z = pieces(
        torch.Generator().manual_seed(seed), tasks=tasks, sizes=sizes, way=way, shared=shared, l2=l2, rate=rate
    )
    assert_same(walk(problem, phi, z, steps=steps), reverse(problem, phi, z, steps=steps))


def test_dual_walk_through_an_embedding_is_unrolling_everything() -> None:
    """The three ideas together, against automatic differentiation of the plain formulation in lam."""
    generator = torch.Generator().manual_seed(0)
    tasks, sizes = 3, (5, 8, 6)
    problem, phi, walk, _ = pieces(generator, tasks=tasks, sizes=sizes, way=5, shared=True, l2=0.01, rate=rate_from_z)
    images = torch.randn(tasks, sizes[0] + sizes[1], 4, generator=generator, dtype=torch.float64)

    def embed(lam: Any) -> Tree:
        features = (images @ lam["weight"]).tanh()
        return {"support": features[:, : sizes[0]], "query": features[:, sizes[0] :], "log_rate": lam["log_rate"]}

    problem = Problem(problem.inner, problem.outer, problem.init, embed=embed)
    lam = {
        "weight": torch.randn(4, sizes[2], generator=generator, dtype=torch.float64),
        "log_rate": torch.tensor(-1.0, dtype=torch.float64),
    }
    found = through_embedding(walk)(problem, phi, lam, steps=6)
    assert_same(found, unrolled(*composed(problem, phi), lam, steps=6))


def test_first_step_is_the_centred_prototype_classifier() -> None:
    """From w_0 = 0, balanced: w_1 for class c is eta/n times (sum of its features - n/C times their mean)."""
    z = {"support": torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)}
    labels = torch.arange(6) % 3
    init = partial(softmax_heads.init, way=3)
    loss = partial(softmax_heads.inner_objective, support_labels=labels)
    phi = gradient_descent(full_batch(loss), init, rate=0.5)
    w = phi.step(1, phi.init(z), z).w
    assert isinstance(w, Tensor)
    x = z["support"]
    sums = torch.stack([x[0, labels == c].sum(0) for c in range(3)], dim=1)
    expected = 0.5 / 6 * (sums - x[0].sum(0)[:, None] / 3)
    assert torch.allclose(w[0, :-1], expected, rtol=1e-12)
    assert torch.allclose(w[0, -1], torch.zeros(3, dtype=torch.float64), atol=1e-12)  # balanced: the bias stays 0


class NoWaiting(TorchDispatchMode):
    """Fails where a value is read from the device, which makes the program wait for it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        waits = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "item")
        assert func.overloadpacket.__name__ not in waits, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("rate", [0.3, rate_from_z])
def test_the_dual_walk_never_waits_for_the_device(rate: Scalar) -> None:
    generator = torch.Generator().manual_seed(0)
    problem, phi, walk, z = pieces(generator, tasks=2, sizes=(4, 5, 3), way=3, shared=True, l2=0.1, rate=rate)
    with NoWaiting():
        found = walk(problem, phi, z, steps=5)
        with pytest.raises(AssertionError, match="waits"):
            found.outer_loss.item()


def test_a_step_of_the_dual_walk_is_few_operations() -> None:
    """Small operators are bound by their number, not by what they compute."""

    class Counting(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += func.overloadpacket.__name__ not in ("detach", "unbind", "alias", "view")
            return func(*args, **(kwargs or {}))

    def count(steps: int) -> int:
        generator = torch.Generator().manual_seed(0)
        problem, phi, walk, z = pieces(generator, tasks=2, sizes=(4, 5, 3), way=3, shared=True, l2=0.0, rate=0.3)
        with Counting() as mode:
            walk(problem, phi, z, steps=steps)
        return mode.count

    assert count(30) - count(20) == 10 * 5


def test_divergence_shows() -> None:
    generator = torch.Generator().manual_seed(4)
    problem, phi, walk, z = pieces(generator, tasks=2, sizes=(7, 5, 3), way=3, shared=True, l2=1.0, rate=100.0)
    found = walk(problem, phi, z, steps=300)
    assert not torch.isfinite(trees.norm(found.grad))
    assert not torch.isfinite(found.outer_loss)


def test_features_have_to_be_there() -> None:
    problem, phi, walk, z = pieces(torch.Generator(), tasks=1, sizes=(2, 2, 2), way=2, shared=True, l2=0.0, rate=0.1)
    with pytest.raises(ValueError, match=r"z\['query'\]"):
        walk(problem, phi, {"support": z["support"]}, steps=1)


@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 6])
def test_fitted_heads_are_where_the_dynamics_end(learned: bool, l2: float, steps: int) -> None:
    def read(z: Any) -> Tensor:
        rate: Tensor = z["log_rate"].exp()
        return rate

    rate: Scalar = (lambda t, z: read(z)) if learned else 0.3
    _, phi, walk, z = pieces(
        torch.Generator().manual_seed(0), tasks=3, sizes=(4, 5, 3), way=3, shared=False, l2=l2, rate=rate
    )
    known = {name: walk.keywords[name] for name in ("support_labels", "way", "l2")}  # type: ignore[attr-defined]
    found = softmax_heads.fitted(z, **known, rate=read if learned else 0.3, steps=steps)
    expected = run(phi, z, steps)[1].w
    assert isinstance(expected, Tensor)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(("kept", "parts"), [(10**6, [5]), (2 * 6 * 3 * 4, [2, 2, 1]), (6 * 3 * 4 - 1, [])])
def test_a_kernel_that_keeps_all_iterates_takes_as_many_tasks_as_may_be_kept(
    monkeypatch: pytest.MonkeyPatch, kept: int, parts: list[int]
) -> None:
    """Six steps of three classes and four examples; where not even one task's may, the loop that keeps none."""
    _, phi, walk, z = pieces(
        torch.Generator().manual_seed(0), tasks=5, sizes=(4, 5, 3), way=3, shared=False, l2=0.0, rate=0.3
    )
    known = {name: walk.keywords[name] for name in ("support_labels", "way", "l2")}  # type: ignore[attr-defined]
    taken: list[int] = []

    def kernel(k: Tensor, *rest: Any) -> softmax_walk.Walk:
        taken.append(len(k))
        return softmax_walk.walk(k, *rest)

    monkeypatch.setattr(softmax_heads, "_fused_walk", lambda targets, steps: kernel)
    monkeypatch.setattr(softmax_heads, "MOST_KEPT", kept)
    found = softmax_heads.fitted(z, **known, rate=0.3, steps=6)
    assert taken == parts
    expected = run(phi, z, 6)[1].w
    assert isinstance(expected, Tensor)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)
