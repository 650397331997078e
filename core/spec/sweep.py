"""The sweep: one experiment for each combination of a grid of values, and for each seed."""

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, JsonValue, PrivateAttr, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from core.spec.base import Label, Spec, refuse
from core.spec.experiment import MOST_LABELS, Experiment, Seed
from core.spec.grids import axes, combinations, described

LARGEST = 1000
"""Members of a sweep, at most."""
LONGEST_NAME = 200


class _LikeAnExperiment:
    """Gives an object the JSON Schema of an experiment."""

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(Experiment.__pydantic_core_schema__)


def _possible(base: dict[str, Any]) -> dict[str, Any]:
    Experiment.model_validate(base)
    return base


Path = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
Values = Annotated[list[JsonValue], Field(min_length=1, max_length=LARGEST)]


class Member(NamedTuple):
    """One experiment of a sweep."""

    parameters: dict[str, Any]
    """Field -> value, in the order of the grid, and `seed`."""
    experiment: Experiment


class Sweep(Spec):
    """An experiment repeated over a grid of values and over seeds; each combination is a member, an experiment."""

    name: Label = "untitled"
    """A name for people; need not be unique."""
    labels: Annotated[dict[Label, Label], Field(max_length=MOST_LABELS)] = Field(default_factory=dict)
    """Names and values to find it by; the members have them beside those of the base."""
    base: Annotated[dict[str, Any], AfterValidator(_possible), _LikeAnExperiment()]
    """The experiment that all members are, but for the grid and the seed."""
    grid: Annotated[dict[Path, Values], Field(max_length=20)] = Field(default_factory=dict)
    """Field of the base -> its values, all different. A field is a path such as `algorithm.steps`, or the end of one
    (`steps`) where only one such field is nearest to the root. A value is set on the base as it was given; it can be a
    whole object such as `{"kind": "implicit"}`. Objects are set before single fields in them. The first field varies
    slowest."""
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=LARGEST)] | None = None
    """Seeds of every combination, all different; by default the base's alone. They vary fastest."""

    _members: tuple[Member, ...] = PrivateAttr(())

    @model_validator(mode="after")
    def _expanded(self) -> "Sweep":
        self._members = _expand(self)
        return self

    @property
    def members(self) -> tuple[Member, ...]:
        """Every combination of the grid with every seed, in order."""
        return self._members

    def problems(self) -> Iterator[Member]:
        """The first member of each problem that members have."""
        seen: set[str] = set()
        for member in self.members:
            problem = member.experiment.problem.model_dump_json()
            if problem not in seen:
                seen.add(problem)
                yield member

    def canonical(self) -> dict[str, Any]:
        """The sweep as plain JSON values, with whole paths and the seeds written out; the base as it was given."""
        base = Experiment.model_validate(self.base)
        return {
            "name": self.name,
            "labels": self.labels,
            "base": self.base,
            "grid": {
                axis[0].path: [choice.value for choice in axis] for axis in axes(self.base, self.grid, base.canonical())
            },
            "seeds": self.seeds or [base.seed],
        }

    def sha256(self) -> str:
        """Hash of the members; two sweeps with the same hash are the same experiments under the same parameters."""
        members = [[list(member.parameters.items()), member.experiment.sha256()] for member in self.members]
        content = {"name": self.name, "labels": self.labels, "members": members}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def _expand(sweep: Sweep) -> tuple[Member, ...]:
    base = Experiment.model_validate(sweep.base)
    seeds = sweep.seeds or [base.seed]
    _check_labels(base.labels, sweep.labels)
    _check_size(sweep, seeds)
    _check_seeds(seeds)
    canonical = base.canonical()
    found = combinations(sweep.base, axes(sweep.base, sweep.grid, canonical), canonical)
    members = tuple(
        _member(sweep, number, {**combination.parameters, "seed": seed}, combination.spec)
        for number, (combination, seed) in enumerate(itertools.product(found, seeds))
    )
    _check_different(members[:: len(seeds)])
    return members


def _member(sweep: Sweep, number: int, parameters: dict[str, Any], spec: Mapping[str, Any]) -> Member:
    own = {
        "name": _name(sweep.name, number, parameters),
        "labels": {**spec.get("labels", {}), **sweep.labels},
        "seed": parameters["seed"],
    }
    return Member(parameters, Experiment.model_validate({**spec, **own}))


def _name(sweep: str, number: int, parameters: Mapping[str, Any]) -> str:
    """`digits [steps=4, seed=1]`; where that is too long, `digits [member 17]`."""
    inside = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in described(parameters))
    name = f"{sweep} [{inside}]"
    if len(name) <= LONGEST_NAME:
        return name
    end = f" [member {number}]"
    return f"{sweep[: LONGEST_NAME - len(end)]}{end}"


def _check_labels(base: Mapping[str, str], own: Mapping[str, str]) -> None:
    if (count := len({**base, **own})) > MOST_LABELS:
        refuse("/labels", f"With those of the base there are {count} labels, of at most {MOST_LABELS}: leave some out")


def _check_size(sweep: Sweep, seeds: Sequence[int]) -> None:
    sizes = [len(values) for values in sweep.grid.values()] or [1]
    if (count := math.prod(sizes) * len(seeds)) > LARGEST:
        factors = " x ".join(map(str, [*sizes, len(seeds)]))
        detail = f"{factors} (the last: seeds) are {count} experiments, of at most {LARGEST}"
        refuse("/grid", f"{detail}: take fewer values or seeds, or make several sweeps")


def _check_seeds(seeds: Sequence[int]) -> None:
    seen: set[int] = set()
    for index, seed in enumerate(seeds):
        if seed in seen:
            refuse(f"/seeds/{index}", f"The seed {seed} is there already: leave it out")
        seen.add(seed)


def _check_different(members: Sequence[Member]) -> None:
    """Each member stands for a combination."""
    seen: dict[str, str] = {}
    for member in members:
        values = described({path: value for path, value in member.parameters.items() if path != "seed"})
        content = member.experiment.model_dump_json(exclude={"name"})
        if content in seen:
            refuse("/grid", f"({seen[content]}) and ({values}) are the same experiment: leave one out")
        seen[content] = values
