import tracemalloc
from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import Tensor

from core.bilevel.finite_sum import Rows
from core.bilevel.problem import Tree
from core.bilevel.randomness import stream
from core.build import Built
from core.problems import inner
from core.problems.inner import minibatches

CPU = torch.device("cpu")
DATA = torch.arange(10.0)


def chosen(w: Tree, lam: Tree, rows: Rows) -> Tensor:
    """Tells which rows it saw: a bit for each."""
    return (2 ** DATA[rows]).sum() * cast(Tensor, w)


def seen(t: int, seed: int = 0, batch: int = 3) -> int:
    _, part = minibatches(chosen, examples=10, batch=batch, seed=seed, device=CPU)
    return int(part(t, torch.tensor(1.0), torch.tensor(0.0)))


def test_a_minibatch_is_a_function_of_seed_and_step() -> None:
    assert [seen(t) for t in range(20)] == [seen(t) for t in range(20)]
    assert [seen(t) for t in range(20)] != [seen(t, seed=1) for t in range(20)]


def test_a_minibatch_has_distinct_examples_and_all_get_their_turn() -> None:
    draws = [seen(t) for t in range(100)]
    assert {draw.bit_count() for draw in draws} == {3}
    assert len(set(draws)) > 50
    assert [abs(sum(draw >> i & 1 for draw in draws) - 30) < 15 for i in range(10)] == [True] * 10


def test_without_a_batch_every_step_sees_everything() -> None:
    for batch in (None, 10):
        everything, part = minibatches(chosen, examples=10, batch=batch, seed=0, device=CPU)
        one, zero = torch.tensor(1.0), torch.tensor(0.0)
        assert int(part(3, one, zero)) == int(everything(one, zero)) == 2**10 - 1


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_minibatches_that_are_kept_take_little_memory(batch: int) -> None:
    data, one, count = torch.arange(1000.0), torch.tensor(1.0), 1000
    _, part = minibatches(lambda w, lam, rows: data[rows].sum(), examples=1000, batch=batch, seed=0, device=CPU)
    part(0, one, one)
    tracemalloc.start()
    try:
        for t in range(1, count + 1):
            part(t, one, one)
        taken = tracemalloc.get_traced_memory()[0] / count
    finally:
        tracemalloc.stop()
    assert taken * inner.kept(batch) < 40e6


def test_minibatches_can_be_drawn_under_vmap() -> None:
    _, part = minibatches(chosen, examples=10, batch=3, seed=0, device=CPU)
    drawn = torch.func.vmap(lambda w: part(1, w, torch.tensor(0.0)))(torch.ones(4))
    assert drawn.tolist() == [seen(1)] * 4
    assert int(part(1, torch.tensor(1.0), torch.tensor(0.0))) == seen(1)  # what is kept is no tensor of that vmap


@pytest.mark.parametrize("kind", ["learned_data", "hyper_cleaning", "regularization"])
def test_hyperiterations_and_evaluations_share_the_minibatches_that_are_kept(
    kind: str, built: Callable[..., Built], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []

    def counted(seed: int, purpose: str, t: int) -> torch.Generator:
        drawn.append(t)
        return stream(seed, purpose, t)

    monkeypatch.setattr(inner, "stream", counted)
    problem = {"kind": kind, "dataset": {"kind": "wine"}, "train": 30, "validation": 20}
    instance, algorithm = built(
        problem, {"steps": 4, "dynamics": {"kind": "gradient_descent", "rate": 0.01, "batch": 2}}
    )
    state = algorithm.init(instance.initial)
    for k in range(3):
        state, _ = algorithm.step(k, state)
        instance.evaluate(state.lam)
    assert drawn == [1, 2, 3, 4]
