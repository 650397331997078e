"""Other ways to the hypergradient of the same spec: every kind, and settings of theirs that save memory."""

from collections.abc import Iterator
from math import isqrt
from typing import Any, NamedTuple

from pydantic import ValidationError

from core.planning.problems import stepped
from core.spec import Experiment
from core.spec.algorithms import (
    Exact,
    Forward,
    Hypergradient,
    Implicit,
    RandomForward,
    Reverse,
    Unrolled,
)
from core.spec.base import kind_of
from core.spec.problems import HyperRepresentation


class Alternative(NamedTuple):
    """A spec that differs from the given one in how, or on how much at a time, it computes the hypergradient."""

    name: str
    set: dict[str, Any]
    same: bool
    """Whether it gives the same hypergradient, to round-off."""
    spec: Experiment | None
    """None where it is not possible."""
    reason: str | None
    """Why it is not."""


def alternatives(spec: Experiment) -> Iterator[Alternative]:
    """All but the spec's own way."""
    algorithm = stepped(spec)
    chosen = algorithm.hypergradient
    for name, other in _methods(algorithm.steps):
        if other != chosen:
            settings = {"algorithm.hypergradient": other.model_dump(mode="json", exclude_defaults=True)}
            settings["algorithm.hypergradient"]["kind"] = kind_of(type(other))
            yield _alternative(spec, name, settings, same=_whole(chosen) and _whole(other))
    if isinstance(spec.problem, HyperRepresentation) and (tasks := spec.problem.meta_batch) > 1:
        yield _alternative(spec, "half the meta-batch", {"problem.meta_batch": tasks // 2}, same=False)


def _methods(steps: int) -> Iterator[tuple[str, Hypergradient]]:
    yield "unrolled", Unrolled()
    yield "reverse", Reverse()
    root = isqrt(max(steps - 1, 0)) + 1
    if 1 < root < steps:
        yield f"reverse, segments of {root}", Reverse(segment=root)
    if (last := max(1, steps // 10)) < steps:
        yield f"reverse, truncated to {last}", Reverse(truncate=last)
    yield "forward", Forward()
    yield "forward, 10 at a time", Forward(chunk=10)
    yield "random forward, 1 direction", RandomForward()
    yield "implicit, conjugate gradient", Implicit()
    yield "exact", Exact()


def _whole(chosen: Hypergradient) -> bool:
    """Whether it is the derivative of f_T itself rather than an estimate or that of another function."""
    if isinstance(chosen, Reverse):
        return chosen.truncate is None
    return isinstance(chosen, Unrolled | Forward)


def _alternative(spec: Experiment, name: str, settings: dict[str, Any], *, same: bool) -> Alternative:
    body = spec.model_dump(mode="json")
    for field, value in settings.items():
        *parents, last = field.split(".")
        place = body
        for parent in parents:
            place = place[parent]
        place[last] = value
    try:
        return Alternative(name, settings, same, Experiment.model_validate(body), None)
    except ValidationError as refusal:
        return Alternative(name, settings, same, None, refusal.errors()[0]["msg"])
