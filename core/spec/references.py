"""Which files of other experiments a problem asks for, and whether those experiments have what it needs."""

import json
from typing import NamedTuple

from core.spec.base import Spec
from core.spec.experiment import Experiment
from core.spec.problems import HyperRepresentation, LinearRepresentation, Problem
from core.spec.sizes import features
from core.spec.sources import ExperimentFeatures, FromExperiment


class Reference(NamedTuple):
    """One place of a spec that names another experiment."""

    pointer: str
    """Where, as a JSON pointer."""
    part: FromExperiment


class Unsuited(NamedTuple):
    """Why an experiment cannot be referred to."""

    pointer: str
    """The field that is to blame."""
    reason: str
    """What is wrong and what to change."""


def references(problem: Problem) -> list[Reference]:
    """All of a problem, in the order of its fields."""
    if isinstance(problem, LinearRepresentation) and isinstance(problem.features, ExperimentFeatures):
        return [Reference("/problem/features", problem.features)]
    if isinstance(problem, HyperRepresentation) and problem.start is not None:
        return [Reference("/problem/start", problem.start)]
    return []


def unsuited(problem: Problem, reference: Reference, source: Experiment) -> Unsuited | None:
    """What the experiment that is referred to lacks, by its spec; None where it has what the problem needs."""
    field, learned = f"{reference.pointer}/experiment", source.problem
    if not isinstance(learned, HyperRepresentation):
        return Unsuited(
            field,
            f"{reference.part.experiment} is of the kind `{learned.kind}`, which learns no representation of images: "
            "name one of the kind `hyper_representation`",
        )
    assert isinstance(problem, HyperRepresentation | LinearRepresentation)
    if learned.dataset.held_out() != problem.dataset.held_out():
        return Unsuited(
            "/problem/dataset",
            f"the representation was learned on {_json(learned.dataset)}, another data set or split, "
            "so that characters it has seen might be tested on: give the same data set",
        )
    if isinstance(problem, HyperRepresentation):
        return _another_model(problem, learned)
    made = features(learned)
    if problem.features.size != made:
        return Unsuited(
            f"{reference.pointer}/size",
            f"the representation of {reference.part.experiment} makes {made} features: set `size` to {made}",
        )
    return None


def _another_model(problem: HyperRepresentation, learned: HyperRepresentation) -> Unsuited | None:
    if problem.model == learned.model:
        return None
    return Unsuited(
        "/problem/model",
        f"the representation to start from is {_json(learned.model)}: give the same model, or leave `start` out",
    )


def _json(part: Spec) -> str:
    """As it is written in a spec."""
    return json.dumps(part.model_dump(mode="json"))
