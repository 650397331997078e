"""What a study is: stages, each a sweep, and a report that is made of what they gave."""

import json
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from bilevel_client.records import Series
from bilevel_client.reproduction.document import Document
from bilevel_client.specs import BadSpec, assign

TO_FOLLOW = "00000000-0000-0000-0000-000000000000"
"""In the base of a stage, the id of an experiment that is to come from an earlier one."""


@dataclass(frozen=True)
class Stage:
    """One sweep of a study."""

    name: str
    base: Mapping[str, Any]
    """An experiment, as it would be submitted."""
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    seeds: Sequence[int] = (0,)
    quick: Mapping[str, Any] = field(default_factory=dict)
    """Field -> value instead of that of `base`, for minutes instead of hours; `grid`, `seeds` replace those above."""
    follows: Mapping[str, str] = field(default_factory=dict)
    """Field of `base` -> name of an earlier stage, whose best experiment's id is set there, for each seed."""
    optional: bool = False
    """Whether it runs only when asked for by `--all-stages`, for it takes many hours or a GPU."""
    changed: bool = False
    """Whether its experiments are others than the study's but for their seeds: its figures meet and miss no bar."""


class Changes(NamedTuple):
    """What is asked for instead of what a study says, in all of its stages."""

    quick: bool = False
    """What each stage has for that."""
    settings: Sequence[str] = ()
    """Fields of the experiments, each `field.field=value`."""
    seeds: Sequence[int] | None = None

    def flags(self) -> list[str]:
        """As the command line has them."""
        settings = [f"--set {shlex.quote(setting)}" for setting in self.settings]
        seeds = [f"--seeds {','.join(map(str, self.seeds))}"] if self.seeds else []
        return ["--quick"] * self.quick + settings + seeds

    def of(self, stage: Stage) -> Stage:
        """The stage with these changes.

        Raises:
            BadSpec: a setting is not of that form, or of a field that the stage varies or takes from an earlier one, or
                of the seed.
        """
        shorter = dict(stage.quick) if self.quick else {}
        grid, own = shorter.pop("grid", stage.grid), shorter.pop("seeds", stage.seeds)
        for setting in self.settings:
            field = setting.partition("=")[0]
            if field == "seed":
                raise BadSpec(f"`{setting}`: every stage has seeds of its own: use --seeds instead")
            for taken in (*grid, *stage.follows):
                if f"{field}.".startswith(f"{taken}.") or f"{taken}.".startswith(f"{field}."):
                    raise BadSpec(
                        f"`{setting}`: the stage `{stage.name}` has values of its own for `{taken}`: leave the setting "
                        "out, or name other stages by --stage"
                    )
        settings = [f"{path}={json.dumps(value)}" for path, value in shorter.items()]
        base = assign(dict(stage.base), [*settings, *self.settings])
        changed = self.quick or bool(self.settings)
        return replace(stage, base=base, grid=grid, seeds=self.seeds or own, quick={}, changed=changed)


NO_CHANGES = Changes()


class Member(NamedTuple):
    """One experiment of a stage, when it has ended."""

    parameters: Mapping[str, Any]
    """Field -> value, and `seed`."""
    experiment: str
    """Its id."""
    status: str
    error: str | None
    result: Mapping[str, Any]
    """Empty unless it has succeeded."""
    curves: Mapping[str, Series]
    sweep: str = ""
    """Id of the sweep that it is of; files of older versions have none."""

    def quality(self) -> float:
        """The validation metric that the outer variables were chosen by, the higher the better."""
        selection = self.result["selection"]
        value = float(self.result["best"]["validation"][selection["metric"]]["mean"])
        return value if selection["better"] == "higher" else -value

    def test(self, metric: str = "accuracy") -> float:
        """A test metric of the outer variables that were best on validation data."""
        return float(self.result["test"][metric]["mean"])


class Found(NamedTuple):
    """What a stage gave."""

    stage: Stage
    members: Sequence[Member]
    date: str
    """When it was submitted."""

    def best(self, seed: int) -> str | None:
        """Id of the experiment of this seed with the best validation metric, or of the only seed; None: there is none.

        Data sets are split by the seed: figures of different seeds are of different validation sets.
        """
        seeds = {member.parameters["seed"] for member in self.members}
        own = [member for member in self.succeeded if len(seeds) == 1 or member.parameters["seed"] == seed]
        return max(own, key=Member.quality).experiment if own else None

    @property
    def succeeded(self) -> list[Member]:
        """Those with a result."""
        return [member for member in self.members if member.status == "succeeded"]

    def cells(self) -> Iterator[tuple[dict[str, Any], list[Member]]]:
        """Members that differ by their seed alone, those that have succeeded; in the order of the grid."""
        groups: dict[str, tuple[dict[str, Any], list[Member]]] = {}
        for member in self.members:
            parameters = {name: value for name, value in member.parameters.items() if name != "seed"}
            group = groups.setdefault(repr(parameters), (parameters, []))
            if member.status == "succeeded":
                group[1].append(member)
        yield from groups.values()

    def at(self, **wanted: Any) -> list[Member]:
        """Those of `every` that have succeeded."""
        return [member for member in self.every(**wanted) if member.status == "succeeded"]

    def every(self, **wanted: Any) -> list[Member]:
        """The members with these values; a field goes by the last part of its name."""
        return [
            member
            for member in self.members
            if all(value == _by_end(member.parameters, name) for name, value in wanted.items())
        ]


Results = Mapping[str, Found]
"""By the name of the stage; a stage that was not run is not there."""


@dataclass(frozen=True)
class Study:
    """Some experiments of the paper."""

    name: str
    title: str
    stages: Sequence[Stage]
    report: Callable[[Results], Document]

    def chosen(self, only: Collection[str], *, all_stages: bool) -> set[str]:
        """Names of the stages: of `only` these, with those that they follow, or of all, the optional ones if asked for.

        Raises:
            BadSpec: there is no such stage.
        """
        known = {stage.name: stage for stage in self.stages}
        if missing := [name for name in only if name not in known]:
            raise BadSpec(f"`{self.name}` has no stage {missing[0]!r}: its stages are {', '.join(map(repr, known))}")
        if not only:
            return {stage.name for stage in self.stages if all_stages or not stage.optional}
        found = set(only)
        for stage in reversed(self.stages):  # a stage comes after those that it follows
            if stage.name in found:
                found |= set(stage.follows.values())
        return found


def _by_end(parameters: Mapping[str, Any], name: str) -> Any:
    return next((value for path, value in parameters.items() if path.rsplit(".", 1)[-1] == name), None)
