"""Other ways to the hypergradient of the same spec: every kind, and settings of theirs that save memory."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import ValidationError

from core.spec import Experiment
from core.spec.algorithms import (
    Exact,
    Forward,
    Hypergradient,
    Implicit,
    Nested,
    RandomForward,
    Reverse,
    Reversible,
    Stepped,
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
    algorithm = spec.algorithm
    if isinstance(algorithm, Stepped):
        for name, other in _methods(algorithm.steps):
            if other != algorithm.hypergradient:
                settings = other.model_dump(mode="json", exclude_defaults=True) | {"kind": kind_of(type(other))}
                same = _whole(algorithm.hypergradient) and _whole(other) and isinstance(algorithm, Nested)
                yield _alternative(spec, name, {"algorithm.hypergradient": settings}, same=same)
    if isinstance(spec.problem, HyperRepresentation):
        yield from _fewer_tasks(spec, spec.problem)


def _fewer_tasks(spec: Experiment, problem: HyperRepresentation) -> Iterator[Alternative]:
    """Fewer at a time, which changes nothing but the memory; then fewer in all."""
    together = min(problem.task_chunk or problem.meta_batch, problem.meta_batch)
    while together > 1:
        together //= 2
        name = f"{together} tasks at a time" if together > 1 else "one task at a time"
        yield _alternative(spec, name, {"problem.task_chunk": together}, same=True)
    if problem.meta_batch > 1:
        yield _alternative(spec, "half the meta-batch", {"problem.meta_batch": problem.meta_batch // 2}, same=False)


def _methods(steps: int) -> Iterator[tuple[str, Hypergradient]]:
    yield "unrolled", Unrolled()
    yield "reverse", Reverse()
    yield "reverse, segments of the root of T", Reverse(segment="auto")
    if steps > 4:
        yield "reverse, 4 snapshots", Reverse(snapshots=4)
    if (last := max(1, steps // 10)) < steps:
        yield f"reverse, truncated to {last}", Reverse(truncate=last)
    yield "reversible", Reversible()
    yield "forward", Forward()
    yield "forward, 10 at a time", Forward(chunk=10)
    yield "random forward, 1 direction", RandomForward()
    yield "implicit, conjugate gradient", Implicit()
    yield "exact", Exact()


def _whole(chosen: Hypergradient) -> bool:
    """Whether it is the derivative of f_T itself rather than an estimate or that of another function."""
    if isinstance(chosen, Reverse):
        return chosen.truncate is None
    return isinstance(chosen, Unrolled | Reversible | Forward)  # reversible: to its rounding


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
