"""A meta-batch is one problem: tasks stacked on a leading axis give the sum of the tasks' hypergradients."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from core.bilevel import dynamics, trees
from core.bilevel.problem import Dynamics, Problem
from tests.core.bilevel.methods import METHODS

TASKS, WAY = 3, 3
KNOBS: dict[str, dict[str, float]] = {
    "gradient_descent": {},
    "heavy_ball": {"momentum": 0.5},
    "nesterov": {"momentum": 0.5},
    "adam": {},
    "adamw": {"decay": 0.1},
    "rmsprop": {},
}
"""Of the dynamics that can be differentiated, beside the rate."""


def tensors(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "x": torch.randn(TASKS, 6, 2, generator=generator, dtype=torch.float64),
        "xv": torch.randn(TASKS, 4, 2, generator=generator, dtype=torch.float64),
        "y": torch.randint(WAY, (TASKS, 6), generator=generator),
        "yv": torch.randint(WAY, (TASKS, 4), generator=generator),
    }


def stated(data: dict[str, Tensor], kind: str) -> tuple[Problem, Dynamics]:
    """Sums over the tasks in `data`; the outer variables transform the inputs, start the heads, and set the rate."""

    def loss(w: Any, lam: Any, x: Tensor, y: Tensor) -> Tensor:
        logits = (x @ lam["map"]).tanh() @ w
        each = functional.cross_entropy(logits.reshape(-1, WAY), y.reshape(-1), reduction="sum")
        return each / y.shape[1]

    def inner(w: Any, lam: Any) -> Tensor:
        return loss(w, lam, data["x"], data["y"]) + 0.05 * (w**2).sum()

    problem = Problem(
        inner,
        lambda w, lam: loss(w, lam, data["xv"], data["yv"]),
        lambda lam: lam["start"].expand(len(data["x"]), -1, -1),
    )
    rate: dynamics.Scalar = lambda t, lam: lam["rate"].exp()  # noqa: E731
    return problem, getattr(dynamics, kind)(dynamics.full_batch(inner), problem.init, rate=rate, **KNOBS[kind])


@pytest.mark.parametrize("kind", KNOBS)
@pytest.mark.parametrize("name", METHODS)
def test_stacked_tasks_are_a_loop_over_tasks(name: str, kind: str) -> None:
    data = tensors(7)
    generator = torch.Generator().manual_seed(8)
    lam = {
        "map": torch.randn(2, 4, generator=generator, dtype=torch.float64),
        "start": torch.randn(4, WAY, generator=generator, dtype=torch.float64),
        "rate": torch.tensor(-1.5, dtype=torch.float64),
    }
    method = METHODS[name]
    batched = method(*stated(data, kind), lam, steps=6)
    each = [
        method(*stated({key: value[j : j + 1] for key, value in data.items()}, kind), lam, steps=6)
        for j in range(TASKS)
    ]
    total = trees.zeros_like(lam)
    for found in each:
        total = trees.add(total, found.grad)
    assert trees.norm(trees.subtract(batched.grad, total)) <= 1e-9 * trees.norm(total)
    assert torch.allclose(batched.outer_loss, sum((found.outer_loss for found in each), start=torch.zeros(())).double())
    assert isinstance(batched.state.w, Tensor)
    for j, found in enumerate(each):
        assert isinstance(found.state.w, Tensor)
        assert torch.allclose(batched.state.w[j], found.state.w[0], rtol=1e-12)
