from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.bilevel.dynamics import full_batch, gradient_descent, heavy_ball
from core.bilevel.embedding import through_embedding
from core.bilevel.hypergradients import reverse, unrolled
from core.bilevel.problem import Dynamics, Method, Problem, Tasks


def meta_batch(seed: int, tasks: int, kind: Any) -> tuple[Problem, Dynamics, Any]:
    """Ridge regression on learned features, one w a task."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    lam = {"weight": draw(3, 2), "log_rate": torch.tensor(-1.5, dtype=torch.float64)}
    data = {"x": draw(tasks, 4, 3), "y": draw(tasks, 4, 1)}

    def state(data: Any) -> tuple[Problem, Dynamics]:
        def embed(lam: Any) -> Any:
            return {"features": (data["x"] @ lam["weight"]).tanh(), "log_rate": lam["log_rate"]}

        def inner(w: Any, z: Any) -> Tensor:
            return ((z["features"] @ w - data["y"]).square().sum() + w.square().sum()) / 8

        def outer(w: Any, z: Any) -> Tensor:
            return (z["features"] @ w - 2 * data["y"]).square().sum((1, 2)).mean()

        def init(z: Any) -> Tensor:
            return torch.zeros(len(z["features"]), 2, 1, dtype=torch.float64)

        knobs = {"rate": lambda t, z: z["log_rate"].exp()}
        if kind is heavy_ball:
            knobs["momentum"] = lambda t, z: torch.tensor(0.5)
        return Problem(inner, outer, init, embed=embed), kind(full_batch(inner), init, **knobs)

    problem, dynamics = state(data)
    return replace(problem, tasks=Tasks(data, state)), dynamics, lam


@settings(max_examples=8, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), tasks=st.integers(1, 5), chunk=st.integers(1, 6), momentum=st.booleans())
@pytest.mark.parametrize("method", [reverse, unrolled])
def test_chunks_of_any_size_are_the_whole_meta_batch(
    method: Method, seed: int, tasks: int, chunk: int, momentum: bool
) -> None:
    problem, dynamics, lam = meta_batch(seed, tasks, heavy_ball if momentum else gradient_descent)
    assert problem.tasks is not None
    chunked = replace(problem, tasks=problem.tasks._replace(chunk=chunk))
    found, expected = (through_embedding(method)(p, dynamics, lam, steps=4) for p in (chunked, problem))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_the_embedding_sees_one_chunk_at_a_time() -> None:
    problem, dynamics, lam = meta_batch(0, 6, gradient_descent)
    assert problem.tasks is not None
    sizes: list[int] = []

    def watching(problem: Problem, dynamics: Dynamics, z: Any, *, steps: int) -> Any:
        sizes.append(len(z["features"]))
        return reverse(problem, dynamics, z, steps=steps)

    chunked = replace(problem, tasks=problem.tasks._replace(chunk=4))
    through_embedding(watching)(chunked, dynamics, lam, steps=2)
    assert sizes == [4, 2]
