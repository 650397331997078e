"""Schedules of reverse mode without any tensor: complete, within their memory, and as cheap as can be."""

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.bilevel.schedule import Action, automatic, cost, recomputed_steps, repetitions, schedule


class Walked:
    """Plays a schedule and checks every move."""

    def __init__(self, steps: int, actions: list[Action], first: int = 0) -> None:
        self.made: list[int] = []
        self.most_kept = 0
        live, kept, adjoint = 0, [], None
        for kind, t in actions:
            match kind:
                case "keep":
                    assert live == t
                    kept.append(t)
                case "load":
                    live = kept[-1]
                    assert live == t
                case "drop":
                    assert kept.pop() == t
                case "advance":
                    assert live == t - 1
                    self.made.append(t)
                    live = t
                case "turn":
                    assert adjoint is None
                    assert t == steps
                    assert live == max(t - 1, 0)
                    adjoint = t
                case "back":
                    assert adjoint == t
                    assert live == t - 1
                    adjoint = t - 1
            self.most_kept = max(self.most_kept, len(kept))
        assert adjoint == first
        assert not kept

    def recomputed(self, steps: int) -> int:
        """Steps made beyond the first time; step T is made at the turn."""
        return len(self.made) - max(steps - 1, 0)


@cache
def fewest(steps: int, snapshots: int) -> int:
    """Steps to advance in all, by dynamic programming over where the next iterate is kept."""
    if steps <= 1:
        return 0
    if snapshots == 1:
        return steps * (steps - 1) // 2
    return min(m + fewest(steps - m, snapshots - 1) + fewest(m, snapshots) for m in range(1, steps))


@pytest.mark.parametrize("snapshots", range(1, 8))
def test_binomial_is_optimal_and_costs_what_the_formula_says(snapshots: int) -> None:
    for steps in range(1, 61):
        walked = Walked(steps, list(schedule(steps, snapshots=snapshots)))
        assert walked.most_kept <= snapshots
        assert len(walked.made) == fewest(steps, snapshots)
        assert walked.recomputed(steps) == recomputed_steps(steps, snapshots)
        assert max((walked.made.count(t) for t in range(1, steps)), default=0) <= repetitions(steps, snapshots)


@pytest.mark.parametrize(("steps", "snapshots"), [(1000, 10), (3003, 5), (10_000, 100), (2000, 2000)])
def test_binomial_of_many_steps(steps: int, snapshots: int) -> None:
    walked = Walked(steps, list(schedule(steps, snapshots=snapshots)))
    assert walked.most_kept <= snapshots
    assert walked.recomputed(steps) == recomputed_steps(steps, snapshots)


def test_published_values() -> None:
    """With 5 snapshots and 6 repetitions at most, 462 = 11!/(5! 6!) steps can be reversed."""
    assert repetitions(462, 5) == 6
    assert repetitions(463, 5) == 7
    assert recomputed_steps(10, 3) + 9 == 15  # t(10, 3) of the paper's tables: 2 * 10 - beta(4, 1)
    assert recomputed_steps(100, 99) == 0
    assert recomputed_steps(100, 1) == 99 * 100 // 2 - 99


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    steps=st.integers(0, 50),
    truncate=st.none() | st.integers(1, 60),
    segment=st.none() | st.just("auto") | st.integers(1, 60),
    snapshots=st.none() | st.integers(1, 60),
)
def test_every_schedule_is_complete(
    steps: int, truncate: int | None, segment: int | None, snapshots: int | None
) -> None:
    if segment is not None:
        snapshots = None
    actions = list(schedule(steps, segment=segment, truncate=truncate, snapshots=snapshots))
    first = 0 if truncate is None else max(steps - truncate, 0)
    walked = Walked(steps, actions, first)
    if segment is None and snapshots is None:
        assert walked.recomputed(steps) == 0
    if isinstance(segment, int):
        assert walked.most_kept <= -(-(steps - first) // segment) + segment
        assert walked.recomputed(steps) <= max(steps - first - 1, 0)


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 100, 101, 10_000])
def test_automatic_segments_keep_two_roots(steps: int) -> None:
    walked = Walked(steps, list(schedule(steps, segment="auto")))
    assert walked.most_kept <= 2 * automatic(steps)
    assert (automatic(steps) - 1) ** 2 < steps <= automatic(steps) ** 2
    assert walked.recomputed(steps) < steps


def test_impossible_schedules_are_refused() -> None:
    with pytest.raises(ValueError, match="snapshots is 0"):
        schedule(5, snapshots=0)
    with pytest.raises(ValueError, match="leave one"):
        schedule(5, snapshots=2, segment=2)


SETTINGS: list[dict[str, Any]] = [
    {},
    *({"segment": length} for length in ("auto", *range(1, 42))),
    *({"snapshots": count} for count in range(1, 42)),
]


@pytest.mark.parametrize("truncate", [None, 7, 40])
@pytest.mark.parametrize("chosen", SETTINGS, ids=str)
def test_costs_are_those_of_the_walk(chosen: dict[str, Any], truncate: int | None) -> None:
    for steps in range(1, 41):
        actions = list(schedule(steps, truncate=truncate, **chosen))
        walked = Walked(steps, actions, max(steps - (truncate or steps), 0))
        assert cost(steps, truncate=truncate, **chosen) == (walked.recomputed(steps), walked.most_kept + 1)


def test_the_last_step_of_a_segment_is_not_made_again() -> None:
    assert cost(100, segment=10) == (81, 19)
