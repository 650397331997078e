"""Other ways of the same spec: every kind of hypergradient, single-loop algorithms, and settings that save memory."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import ValidationError

from core.spec import Experiment
from core.spec.algorithms import (
    Exact,
    FirstOrder,
    Forward,
    Hypergradient,
    Implicit,
    Joint,
    Nested,
    RandomForward,
    RealTime,
    Reptile,
    Reverse,
    Reversible,
    Stepped,
    Unrolled,
)
from core.spec.base import kind_of
from core.spec.learned_problems import LearnedData
from core.spec.problems import (
    HyperCleaning,
    HyperRepresentation,
    Initialization,
    Problem,
    RandomQuadratics,
    Regularization,
)
from core.spec.sizes import learned_examples, real_examples, training_examples, validation_examples
from core.spec.stochastic import AnyStochastic, MaSoba, Saba, Soba, Srba


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
        for name, other in _methods(algorithm):
            if other != algorithm.hypergradient:
                settings = other.model_dump(mode="json", exclude_defaults=True) | {"kind": kind_of(type(other))}
                yield _alternative(spec, name, {"algorithm.hypergradient": settings}, same=_same(algorithm, other))
    elif not isinstance(algorithm, Joint):
        yield from _other_algorithms(spec, algorithm)
        yield from _other_minibatches(spec, algorithm)
    if isinstance(spec.problem, HyperRepresentation | Initialization):
        yield from _fewer_tasks(spec, spec.problem)


SINGLE_LOOP = (Soba, MaSoba, Saba, Srba)
"""Algorithms that move w, v and lam along estimates of the same directions, by the same rates."""
KEPT = {"inner_rate", "outer_rate", "batch", "hyperiterations"}
"""What one of them takes over from another; the decay of the rates is each one's own."""


def _other_algorithms(spec: Experiment, algorithm: AnyStochastic) -> Iterator[Alternative]:
    if not isinstance(algorithm, SINGLE_LOOP):
        return
    for other in SINGLE_LOOP:
        if not isinstance(algorithm, other):
            settings = {"kind": kind_of(other), **algorithm.model_dump(mode="json", include=KEPT)}
            yield _alternative(spec, kind_of(other), {"algorithm": settings}, same=False)


def _other_minibatches(spec: Experiment, algorithm: AnyStochastic) -> Iterator[Alternative]:
    """Smaller ones, whose graphs are smaller; for SABA larger ones too, of which there are fewer to remember."""
    most = max(_examples(spec.problem))
    now = min(algorithm.batch or most, most)
    sizes = [now // 4**power for power in range(1, 5) if now // 4**power >= 1]
    if isinstance(algorithm, Saba):
        sizes += [now * 4**power for power in range(1, 5) if now * 4**power < most]
    for size in sizes:
        yield _alternative(spec, f"minibatches of {size}", {"algorithm.batch": size}, same=False)


def _examples(problem: Problem) -> tuple[int, int]:
    """Inner and outer examples."""
    if isinstance(problem, RandomQuadratics):
        return problem.inner_examples, problem.outer_examples
    if isinstance(problem, LearnedData):
        return learned_examples(problem), real_examples(problem)
    assert isinstance(problem, Regularization | HyperCleaning)  # core.spec.checks refuses the others
    return training_examples(problem), validation_examples(problem)


def _fewer_tasks(spec: Experiment, problem: HyperRepresentation | Initialization) -> Iterator[Alternative]:
    """Fewer at a time, which changes nothing but the memory; then fewer in all."""
    together = min(problem.task_chunk or problem.meta_batch, problem.meta_batch)
    while together > 1:
        together //= 2
        name = f"{together} tasks at a time" if together > 1 else "one task at a time"
        yield _alternative(spec, name, {"problem.task_chunk": together}, same=True)
    if problem.meta_batch > 1:
        yield _alternative(spec, "half the meta-batch", {"problem.meta_batch": problem.meta_batch // 2}, same=False)


def _methods(algorithm: Stepped) -> Iterator[tuple[str, Hypergradient]]:
    """Those that the algorithm can have at all: its inner run without a new start leaves two kinds."""
    real_time = isinstance(algorithm, RealTime)
    return (each for each in _all_methods(algorithm.steps) if not real_time or isinstance(each[1], Forward | Reverse))


def _all_methods(steps: int) -> Iterator[tuple[str, Hypergradient]]:
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
    yield "first order", FirstOrder()
    yield "reptile", Reptile()


def _same(algorithm: Stepped, other: Hypergradient) -> bool:
    """Whether it is the same hypergradient; in real time forward mode has terms that reverse mode leaves out."""
    own = algorithm.hypergradient
    alike = isinstance(algorithm, Nested) or (isinstance(own, Reverse) and isinstance(other, Reverse))
    return alike and _whole(own) and _whole(other)


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
