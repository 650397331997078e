"""Randomness is an index."""

import itertools

import torch

from core.bilevel.randomness import stream


def draw(*index: int | str, seed: int = 0) -> torch.Tensor:
    return torch.rand(4, generator=stream(seed, *index))


def test_the_same_index_draws_the_same_in_any_order() -> None:
    first = [draw("episode", k) for k in range(5)]
    again = [draw("episode", k) for k in reversed(range(5))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_other_indices_draw_otherwise() -> None:
    draws = [draw("a"), draw("b"), draw(1), draw("1"), draw(1, 2), draw(12), draw("a", 1), draw("a", seed=1)]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(draws, 2))


def test_the_stream_is_the_same_on_every_machine() -> None:
    assert stream(7, "episode", 3).initial_seed() == 5652147785746675884
