"""All of a replayed hyperiteration but the capture itself, which needs a CUDA device."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from core.bilevel import optimizers, softmax_heads, trees
from core.bilevel.algorithms import nested, nested_from_graph
from core.bilevel.dynamics import full_batch, gradient_descent
from core.bilevel.embedding import through_embedding
from core.bilevel.graphs import Recorded, graphed, replayed
from core.bilevel.problem import Dynamics, Hypergradient, Problem, Tasks, steady

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
LABELS = torch.arange(3)


class Tape:
    """Stands for a CUDA graph: a replay computes again on the same inputs, into the same outputs."""

    captures = 0

    def __call__(self, compute: Callable[[], Any]) -> Recorded:
        self.captures += 1
        output = compute()

        def replay() -> None:
            for place, leaf in zip(trees.leaves(output), trees.leaves(compute()), strict=True):
                place.copy_(leaf)

        return Recorded(output, replay)


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def meta_batch(k: int, tasks: int = 4) -> tuple[Problem, Dynamics]:
    def state(data: Any) -> tuple[Problem, Dynamics]:
        def embed(lam: Any) -> Any:
            return {name: (images @ lam["weight"]).tanh() for name, images in data.items()}

        inner = partial(softmax_heads.inner_objective, support_labels=LABELS)
        outer = partial(softmax_heads.outer_objective, query_labels=LABELS.repeat(2))
        init = partial(softmax_heads.init, way=3)
        return Problem(inner, outer, init, embed=embed), gradient_descent(full_batch(inner), init, rate=0.3)

    data = {"support": draw(tasks, 3, 5, seed=k), "query": draw(tasks, 6, 5, seed=100 + k)}
    problem, dynamics = state(data)
    return replace(problem, tasks=Tasks(data, state)), dynamics


def walk(problem: Problem, dynamics: Dynamics, lam: Any, *, steps: int) -> Hypergradient:
    return through_embedding(
        partial(softmax_heads.dual_walk, support_labels=LABELS, query_labels=LABELS.repeat(2), way=3, rate=0.3)
    )(problem, dynamics, lam, steps=steps)


def test_a_replay_is_the_method_on_the_tasks_and_variables_of_its_own_hyperiteration() -> None:
    tape = Tape()
    method = graphed(walk, tape)
    held = []
    for k in range(3):
        lam = {"weight": draw(5, 4, seed=200 + k)}
        held.append((method(*meta_batch(k), lam, steps=4), walk(*meta_batch(k), lam, steps=4)))
    for found, expected in held:  # looked at after all replays: none of them writes over what another gave
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert tape.captures == 1
    method(*meta_batch(0), lam, steps=2)
    assert tape.captures == 2


OPTIMIZERS = {
    "sgd": optimizers.sgd(rate=optimizers.inverse_time(0.3, 0.1)),
    "momentum": optimizers.momentum(rate=optimizers.inverse_time(0.1, 0.1)),
    "adam": optimizers.adam(rate=optimizers.cosine(optimizers.inverse_time(0.01), 6)),
    "adam, clipped": optimizers.clipped(optimizers.adam(rate=optimizers.inverse_time(0.01)), largest=1e-3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_whole_hyperiteration_can_be_replayed(name: str) -> None:
    """With the rates of its own k, though Python's numbers would stay what they were; from any hyperiteration on."""

    def project(lam: Any) -> Any:
        return {"weight": lam["weight"].clamp(max=1.5)}

    tape, start = Tape(), {"weight": draw(5, 4, seed=200)}
    plain = nested(meta_batch, steady(walk), OPTIMIZERS[name], project, steps=4)
    again = nested_from_graph(meta_batch, walk, OPTIMIZERS[name], project, steps=4, capture=tape)
    state = expected = plain.init(start)
    torch.testing.assert_close(again.init(start), expected, rtol=0, atol=0)
    held = []
    for k in range(6):
        state, series = again.step(k, state)
        expected, named = plain.step(k, expected)
        held.append(((state, series), (expected, named)))
    for found, wanted in held:
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-15)
    assert tape.captures == 1
    resumed = nested_from_graph(meta_batch, walk, OPTIMIZERS[name], project, steps=4, capture=Tape())
    torch.testing.assert_close(resumed.step(5, held[4][0][0]), held[5][0], rtol=0, atol=0)


def test_chunks_stay_chunks() -> None:
    sizes: list[int] = []

    def counting(problem: Problem, dynamics: Dynamics, lam: Any, *, steps: int) -> Hypergradient:
        sizes.append(len(problem.tasks.data["support"]))  # type: ignore[union-attr, index, call-overload]
        return walk(problem, dynamics, lam, steps=steps)

    problem, dynamics = meta_batch(0)
    assert problem.tasks is not None
    chunked = replace(problem, tasks=problem.tasks._replace(chunk=3))
    lam = {"weight": draw(5, 4, seed=200)}
    found = graphed(counting, Tape())(chunked, dynamics, lam, steps=4)
    torch.testing.assert_close(found.grad, walk(problem, dynamics, lam, steps=4).grad, rtol=1e-12, atol=1e-15)
    assert found.state.w.shape == (4, 5, 3)  # type: ignore[union-attr]
    assert set(sizes) == {4}


@pytest.mark.parametrize("other", [draw(3, 2, seed=0), draw(2, 3, seed=0).float()])
def test_other_shapes_and_formats_are_refused(other: Tensor) -> None:
    double = replayed(lambda x: 2 * x, draw(2, 3, seed=0), Tape())
    torch.testing.assert_close(double(draw(2, 3, seed=1)), 2 * draw(2, 3, seed=1))
    with pytest.raises(ValueError, match="cannot be replayed"):
        double(other)


def test_inputs_are_told_by_name_whatever_their_order() -> None:
    x, y = draw(2, seed=0), draw(2, seed=1)
    difference = replayed(lambda inputs: inputs["x"] - inputs["y"], {"x": x.clone(), "y": y.clone()}, Tape())
    torch.testing.assert_close(difference({"y": x, "x": y}), y - x, rtol=0, atol=0)
    with pytest.raises(ValueError, match="do not fit"):
        difference({"x": x})


def test_what_is_captured_is_the_device_of_the_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's slot may be on cuda:1, and the graph of an idle cuda:0 would replay nothing."""
    current: list[Tensor] = []

    @contextmanager
    def device_of(tensor: Tensor) -> Iterator[None]:
        current.append(tensor)
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "device_of", device_of)

    def capture(compute: Callable[[], Any]) -> Recorded:
        assert current
        recorded = Tape()(compute)

        def replay() -> None:
            assert current
            recorded.replay()

        return Recorded(recorded.output, replay)

    double = replayed(lambda x: 2 * x, draw(2, 3, seed=0), capture)
    torch.testing.assert_close(double(draw(2, 3, seed=1)), 2 * draw(2, 3, seed=1))
    assert not current


def test_a_problem_has_to_be_stated_by_its_tasks() -> None:
    problem, dynamics = meta_batch(0)
    with pytest.raises(ValueError, match="by its tasks"):
        graphed(walk, Tape())(replace(problem, tasks=None), dynamics, {"weight": draw(5, 4, seed=0)}, steps=1)


@CUDA
def test_the_graph_itself() -> None:
    def compute(inputs: Any) -> Any:
        return {"y": inputs["x"].square().sum(), "z": inputs["x"] + 1}

    again = replayed(compute, {"x": draw(4, seed=0).cuda()})
    for seed in (1, 2):
        x = draw(4, seed=seed).cuda()
        torch.testing.assert_close(again({"x": x}), compute({"x": x}))
