"""Every kind that a spec can name, by the place where it can stand."""

from collections.abc import Iterator
from typing import get_args

from core.spec.algorithms import Algorithm, Dynamics, Hypergradient, LinearSolver, Optimizer, ToleranceSchedule
from core.spec.base import Spec, kind_of
from core.spec.datasets import EpisodeDataset, TableDataset
from core.spec.experiment import Experiment
from core.spec.heads import Heads
from core.spec.learned_problems import OPTIMIZERS, TASKS
from core.spec.models import Representation, TableModel
from core.spec.problems import ClippedWeights, Problem, SigmoidWeights


def _members(*unions: object) -> tuple[type[Spec], ...]:
    found: dict[type[Spec], None] = {}
    for union in unions:
        arguments = get_args(union)
        members = get_args(arguments[0]) if arguments else (union,)
        found.update(dict.fromkeys(members))
    return tuple(found)


KINDS: dict[str, tuple[type[Spec], ...]] = {
    "problem": _members(Problem),
    "dataset": _members(TableDataset, EpisodeDataset),
    "model": _members(TableModel, Representation),
    "weights": (SigmoidWeights, ClippedWeights),
    "heads": _members(Heads),
    "optimizer_network": OPTIMIZERS,
    "tasks": TASKS,
    "algorithm": _members(Algorithm),
    "dynamics": _members(Dynamics),
    "hypergradient": _members(Hypergradient),
    "solver": _members(LinearSolver),
    "schedule": _members(ToleranceSchedule),
    "optimizer": _members(Optimizer),
}
"""Section of the catalogue -> the classes of its kinds; every class can be made without arguments."""


def _parts(whole: type[Spec], path: str = "") -> Iterator[tuple[str, type[Spec]]]:
    """The objects in a spec that have no kind, by dotted paths, an object before what is in it."""
    for name, field in whole.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Spec):
            yield f"{path}{name}", field.annotation
            yield from _parts(field.annotation, f"{path}{name}.")


PARTS: dict[str, type[Spec]] = dict(_parts(Experiment))
"""Path in an experiment -> the class of what stands there whatever its kinds; each can be made without arguments."""

__all__ = ["KINDS", "PARTS", "kind_of"]
