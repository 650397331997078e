"""In which order reverse mode walks: which iterates it keeps, and which steps it makes again.

A schedule is a sequence of actions on one live iterate and a stack of kept ones. It ends with all steps walked back and
nothing kept, and uses no tensors: what it costs can be counted before anything runs.
"""

from collections.abc import Iterator
from math import comb, isqrt
from typing import Literal, NamedTuple

Segment = int | Literal["auto"]


class Action(NamedTuple):
    """One move; t says to which step or iterate it belongs."""

    kind: Literal["keep", "load", "drop", "advance", "turn", "back"]
    """keep: push the live iterate s_t on the stack. load: make the iterate on top, s_t, the live one. drop: pop s_t.
    advance: s_t = Phi_t(s_{t-1}) becomes the live one. turn: s_T = Phi_T(s_{T-1}), where the adjoint starts; s_{T-1}
    stays the live one. back: take the adjoint through step t; the live iterate is s_{t-1}."""
    t: int


def schedule(
    steps: int, *, segment: Segment | None = None, truncate: int | None = None, snapshots: int | None = None
) -> Iterator[Action]:
    """The actions of a walk through steps 1 .. T and back to step 1, or back through the last `truncate` steps only.

    Every iterate of the way back is kept, or every `segment`-th, or at most `snapshots` of them at a time.

    Raises:
        ValueError: a number is below 1, or segment and snapshots are both given.
    """
    for name, value in (("segment", segment), ("truncate", truncate), ("snapshots", snapshots)):
        if isinstance(value, int) and value < 1:
            raise ValueError(f"{name} is {value}: it has to be at least 1")
    if segment is not None and snapshots is not None:
        raise ValueError("segment and snapshots are two schedules: leave one of them out")
    return _schedule(steps, segment, truncate, snapshots)


def _schedule(steps: int, segment: Segment | None, truncate: int | None, snapshots: int | None) -> Iterator[Action]:
    first = 0 if truncate is None else max(steps - truncate, 0)  # the walk back ends at s_first
    yield from _advance(0, first)
    if steps == 0:
        yield Action("turn", 0)
    elif segment is not None:
        length = automatic(steps - first) if segment == "auto" else segment
        yield from _segments(first, steps, length)
    else:
        yield from _binomial(first, steps, snapshots or steps, turn=True)


def automatic(steps: int) -> int:
    """The segment that keeps the fewest iterates, about sqrt(T): T/m at the ends of segments and m in one of them."""
    return max(1, isqrt(max(steps - 1, 0)) + 1)


def _advance(begin: int, end: int) -> Iterator[Action]:
    return (Action("advance", t) for t in range(begin + 1, end + 1))


def _segments(first: int, last: int, length: int) -> Iterator[Action]:
    """Keeps the starts of segments; each segment is walked anew with all its iterates kept, the last one at once."""
    begins = range(first, last, length)
    for begin in begins[:-1]:
        yield Action("keep", begin)
        yield from _advance(begin, begin + length)
    yield from _binomial(begins[-1], last, length, turn=True)
    for begin in reversed(begins[:-1]):
        yield Action("load", begin)
        yield Action("drop", begin)
        yield from _binomial(begin, begin + length, length, turn=False)


def _binomial(first: int, last: int, snapshots: int, *, turn: bool) -> Iterator[Action]:
    """From the live s_first to s_{last-1} and back, with at most `snapshots` iterates kept (Griewank and Walther 2000).

    As few steps are made again as is possible; none where snapshots >= last - first - 1.
    """
    kept: list[int] = []
    live = first
    for end in range(last, first, -1):
        if kept and live != end - 1:
            live = kept[-1]
            yield Action("load", live)
        while live < end - 1:
            free = snapshots - len(kept) + (live in kept[-1:])  # counting the place of the live one
            if live not in kept[-1:]:
                yield Action("keep", live)
                kept.append(live)
            target = live + split(end - live, free)
            yield from _advance(live, target)
            live = target
        if live in kept[-1:]:
            yield Action("drop", kept.pop())
        if turn and end == last:
            yield Action("turn", end)
        yield Action("back", end)


def split(steps: int, snapshots: int) -> int:
    """How far to go, from a kept iterate, before the next one is kept; all the way where there is room for one only.

    With r = repetitions(l, c) any m is best for which both parts need as many repetitions as their share:
    beta(c, r - 2) <= m <= beta(c, r - 1) and beta(c - 1, r - 1) <= l - m <= beta(c - 1, r), where beta(c, r) is the
    number (c + r)! / (c! r!) of steps that c snapshots reverse with r repetitions.
    """
    if snapshots == 1:
        return steps - 1
    r = repetitions(steps, snapshots)
    return max(1, _beta(snapshots, r - 2), steps - _beta(snapshots - 1, r))


def repetitions(steps: int, snapshots: int) -> int:
    """The r with beta(c, r - 1) < l <= beta(c, r): how often, at most, the best schedule makes a step."""
    r = 0
    while _beta(snapshots, r) < steps:
        r += 1
    return r


def recomputed_steps(steps: int, snapshots: int) -> int:
    """Steps that the best schedule makes again: r l - beta(c + 1, r - 1) in all, less the l - 1 of the way there.

    l = T and c = snapshots, at least 1 each; Griewank and Walther, "Algorithm 799: revolve", TOMS 26 (2000), eq. 3.
    """
    r = repetitions(steps, snapshots)
    return r * steps - _beta(snapshots + 1, r - 1) - (steps - 1)


class Cost(NamedTuple):
    """What a schedule takes."""

    again: int
    """Steps made once more than on the way there, not counting those that the way back makes as it goes through them:
    `advance` but for the first T - 1."""
    kept: int
    """Iterates that are there at a time, at most: those on the stack, and the live one."""


def cost(
    steps: int, *, segment: Segment | None = None, truncate: int | None = None, snapshots: int | None = None
) -> Cost:
    """Of the schedule with these arguments, from formulas; T at least 1."""
    back = steps if truncate is None else min(truncate, steps)
    if segment is not None:
        length = min(automatic(back) if segment == "auto" else segment, back)
        before = -(-back // length) - 1  # segments but for the last one, which is not walked anew
        last = back - before * length
        return Cost(before * (length - 1), max(before + last, before - 1 + length))
    kept = min(snapshots or back, max(back - 1, 1))
    return Cost(recomputed_steps(back, kept), min(kept + 1, back))


def _beta(c: int, r: int) -> int:
    return comb(c + r, c) if r >= 0 else 0
