from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.bilevel import iterates, trees
from core.bilevel.iterates import Iterates
from core.bilevel.problem import State


def state(number: int) -> State:
    return State({"a": torch.full((2, 3), float(number)), "b": torch.tensor(number)}, (torch.full((4,), -number),))


@pytest.mark.parametrize("piece", [1, 200, 10_000], ids=["one each", "a few", "all in one"])
@given(pushes=st.lists(st.integers(0, 3), max_size=20))
def test_it_is_a_stack(piece: int, pushes: Sequence[int]) -> None:
    """After each number: pop one where there is one, then push so many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iterates, "PIECE_BYTES", piece)
        kept, expected = Iterates(), list[State]()
        for count in pushes:
            if expected:
                kept.pop()
                expected.pop()
            for _ in range(count):
                made = state(len(expected) + 10 * count)
                kept.push(made)
                expected.append(made)
            if expected:
                torch.testing.assert_close(kept.last(), expected[-1])
        while expected:
            torch.testing.assert_close(kept.last(), expected.pop())
            kept.pop()


def test_what_is_kept_is_a_copy() -> None:
    kept, made = Iterates(), state(1)
    kept.push(made)
    for leaf in trees.leaves(made):
        leaf.zero_()
    torch.testing.assert_close(kept.last(), state(1))


def test_states_of_other_kinds_one_after_the_other() -> None:
    """Keys in another order, another shape, a memory that begins later: each comes back as it was."""
    one, two = torch.ones(3), torch.full((3,), 2.0)
    states = [
        State({"a": one, "b": two}),
        State({"b": one, "a": two}),
        State({"a": one[0], "b": two}),
        State({"a": one, "b": two}, (one, two)),
    ]
    kept = Iterates()
    for each in states:
        kept.push(each)
    assert len(kept) == len(states)
    for each in reversed(states):
        torch.testing.assert_close(kept.last(), each)
        kept.pop()
