"""Runs a study: submits its stages one after the other, waits, keeps what they gave; begun again, it goes on."""

import contextlib
import json
import shlex
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import reduce
from importlib.metadata import version
from operator import getitem
from pathlib import Path
from typing import Any
from uuid import uuid4

from bilevel_client.client import Client
from bilevel_client.commands.following_sweep import follow_sweep
from bilevel_client.commands.service import PATIENT
from bilevel_client.errors import Invalid, NotFound, Unauthorized
from bilevel_client.records import Record, Series
from bilevel_client.reproduction.document import Document, Section, Text, write
from bilevel_client.reproduction.study import NO_CHANGES, Changes, Found, Member, Results, Stage, Study
from bilevel_client.specs import BadSpec, assign

STATE = "reproduction.json"
CURVES = ("validation/*", "test/*", "outer_objective", "outer/*", "seconds", "inner_objective_*", "hypergradient_norm")
"""Series that are kept for the report."""
MOST_POINTS = 10_000
"""Of a series; curves with fewer points are whole, and means of them are those of what was measured."""


class Reproduction:
    """A study in a folder.

    The folder's file `reproduction.json` holds a key from which those of the submissions are made: whatever was
    submitted before an interruption is found again, and nothing is submitted twice.

    Raises:
        BadSpec: the folder holds another study, or the same with other changes or of another version.
    """

    def __init__(
        self, client: Client, study: Study, folder: Path, changes: Changes = NO_CHANGES, *, quiet: bool = False
    ) -> None:
        self._client, self._study, self._folder = client, study, folder
        self._changes, self._quiet = changes, quiet
        self._new = [place for place in (folder, *folder.parents) if not place.exists()]
        path = folder / STATE
        fresh = {"study": study.name, **_kept(changes), "client": _client(), "key": str(uuid4()), "sweeps": {}}
        self._state: dict[str, Any] = json.loads(path.read_text()) if path.exists() else fresh
        before = Changes(*(self._state.get(name, unchanged) for name, unchanged in _kept(NO_CHANGES).items()))
        if (self._state["study"], _kept(before)) != (study.name, _kept(changes)):
            if self._state["sweeps"]:
                raise BadSpec(f"{folder} holds what `{command(self._state['study'], before)}` made: give another --out")
            self._state = fresh  # nothing was submitted, as far as is known

    def run(self, chosen: Collection[str], *, each: Callable[[Results], None] = lambda results: None) -> Results:
        """What every stage gave, of those that are chosen and of those that were begun.

        Those that follow no other are submitted at once, so that no slot waits for the last experiment of a stage.
        `each` is called after every stage with what there is so far.

        Raises:
            BadSpec: as `Changes.of`, and where a stage was begun by another version of the study.
        """
        found: dict[str, Found] = {}
        names = {*chosen, *self._state["sweeps"]}
        asked = [self._changes.of(stage) for stage in self._study.stages if stage.name in names]
        for stage in asked:
            if not stage.follows and not self._path(stage).exists():
                self._submitted(stage, stage.name, sweeps_of(self._study, stage, found)[stage.name])
        for stage in asked:
            if found.keys() >= set(stage.follows.values()) and (sweeps := sweeps_of(self._study, stage, found)):
                found[stage.name] = self._stage(stage, sweeps)
                each(found)
        return found

    def report(self, results: Results) -> None:
        """Writes the report of what there is."""
        write(with_command(self._study, results, self._changes, self._state.get("client")), self._folder)

    def _stage(self, stage: Stage, sweeps: Mapping[str, dict[str, Any]]) -> Found:
        path = self._path(stage)
        if path.exists():
            kept = json.loads(path.read_text())
            specs = kept.get("specs", {})  # files of older versions have none: the service is asked
            for name, spec in sweeps.items():
                self._check_same(stage, specs.get(name, spec), spec)
            if specs == sweeps:
                return _read(stage, kept)
        submitted = {name: self._submitted(stage, name, spec)["id"] for name, spec in sweeps.items()}
        self._client.patience = max(self._client.patience, PATIENT)
        records = [follow_sweep(self._client, sweep, quiet=self._quiet) for sweep in submitted.values()]
        members = [
            self._member(member, sweep) for sweep in submitted.values() for member in self._client.sweep_members(sweep)
        ]
        date = min(record["created_at"] for record in records)[:10]
        kept = {"sweeps": submitted, "date": date, "specs": sweeps, "members": members}
        if all(member["status"] == "succeeded" for member in members):  # else a retry may bring the others
            _write(path, kept)
        return _read(stage, kept)

    def _submitted(self, stage: Stage, name: str, spec: Mapping[str, Any]) -> Record:
        """A sweep of the stage: that which was submitted before or, if it followed other experiments, a new one."""
        if known := self._state["sweeps"].get(name):
            try:
                record = self._client.get_sweep(known)
            except NotFound as error:
                raise NotFound(
                    f"The service has no sweep {known}, which {self._folder / STATE} names: is it another service? "
                    "Remove the folder to begin again."
                ) from error
            self._check_same(stage, record["spec"], spec)
            if record["spec"] == spec:
                return record
        if not self._state["sweeps"]:
            next(iter(self._client.sweeps(limit=1)), None)  # a service that does not answer leaves no folder behind
        self._save()  # the key, before anything is submitted with it
        key = "/".join([self._state["key"], name, *_followed(stage, spec)])
        try:
            record = self._client.sweep(spec, idempotency_key=key)
        except (Invalid, Unauthorized):
            if not self._state["sweeps"]:
                self._forget()
            raise
        self._state["sweeps"][name] = record["id"]
        self._save()
        return record

    def _check_same(self, stage: Stage, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """Results of another version of a stage are not those of this one; it may have followed others."""
        if _following_nobody(stage, before) != _following_nobody(stage, now):
            raise BadSpec(
                f"{self._folder} holds the stage `{stage.name}` of another version of this study: give another --out, "
                "or remove the folder to run it anew"
            )

    def _forget(self) -> None:
        """Removes what was written before a submission that was refused."""
        (self._folder / STATE).unlink()
        for place in self._new:
            with contextlib.suppress(OSError):  # something else is in it
                place.rmdir()

    def _member(self, member: Record, sweep: str) -> dict[str, Any]:
        succeeded = member["status"] == "succeeded"
        experiment = member["experiment_id"]
        curves = self._client.curves(experiment, CURVES, max_points=MOST_POINTS).series
        return {
            "parameters": member["parameters"],
            "experiment": experiment,
            "status": member["status"],
            "error": member["error"]["message"] if member["error"] else None,
            "result": self._client.result(experiment) if succeeded else {},
            "curves": {name: {"step": series.step, "value": series.value} for name, series in curves.items()},
            "sweep": sweep,
        }

    def _path(self, stage: Stage) -> Path:
        return self._folder / "stages" / f"{stage.name}.json"

    def _save(self) -> None:
        _write(self._folder / STATE, self._state)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """All of it or, after an interruption, none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps(content, indent=1))
    aside.replace(path)


def _kept(changes: Changes) -> dict[str, Any]:
    """As a file has them."""
    found: dict[str, Any] = json.loads(json.dumps(changes._asdict()))
    return found


def command(study: str, changes: Changes, *more: str) -> str:
    """The command that runs a study with these changes and further flags."""
    return " ".join(["bilevel reproduce", study, *changes.flags(), *more])


def with_command(study: Study, results: Results, changes: Changes, client: str | None = None) -> Document:
    """The report, with the command that makes it, which client that was, and notes on what it changes."""
    document, there, flags = study.report(results), results.keys(), list[str]()
    if there == study.chosen((), all_stages=True) != study.chosen((), all_stages=False):
        flags.append("--all-stages")
    elif there != study.chosen((), all_stages=False):
        flags += [f"--stage {shlex.quote(name)}" for name in there]
    parts = [Text(f"`{command(study.name, changes, *flags)}`")]
    if client:
        parts.append(Text(f"Submitted by {client}."))
    return document._replace(sections=[*document.sections, Section("Command", parts)], notes=_notes(changes))


def _notes(changes: Changes) -> list[Text]:
    """Why the figures are not those of the study."""
    found = []
    if changes.quick:
        found.append(
            "**Quick**: few hyperiterations, inner steps and episodes, to show that it works. These figures say "
            "nothing about the paper's, and what is said below about settings is of the study itself."
        )
    if changes.settings:
        settings = ", ".join(f"`{setting}`" for setting in changes.settings)
        found.append(
            f"**Changed settings**: {settings} in all experiments. What is said below about settings is of the study "
            "without them."
        )
    return [Text(words) for words in found]


def _client() -> str:
    """Version and, in a checkout, commit of this client, which the stages are those of."""
    folder = Path(__file__).resolve().parents[2]
    name = f"Bilevel {version('bilevel')}"
    if not (folder / ".git").exists():
        return name
    try:
        asked = ["git", "-C", str(folder), "rev-parse", "--short=10", "HEAD"]
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return name
    return f"{name} ({answer.stdout.strip()})"


def sweeps_of(study: Study, stage: Stage, before: Results) -> dict[str, dict[str, Any]]:
    """What is submitted for a stage, by name: a sweep over its seeds or, of a stage that follows others, one a seed.

    An experiment follows the best of its own seed; a seed that has none is left out.
    """
    if not stage.follows:
        return {stage.name: _sweep(study, stage, stage.name, stage.base, stage.seeds)}
    found = {}
    for seed in stage.seeds:
        followed = {field: before[name].best(seed) for field, name in stage.follows.items()}
        if None not in followed.values():
            name = stage.name if len(stage.seeds) == 1 else f"{stage.name}, seed {seed}"
            base = assign(dict(stage.base), [f"{field}={experiment}" for field, experiment in followed.items()])
            found[name] = _sweep(study, stage, name, base, [seed])
    return found


def _sweep(study: Study, stage: Stage, name: str, base: Mapping[str, Any], seeds: Sequence[int]) -> dict[str, Any]:
    spec = {
        "name": f"{study.name}: {name}",
        "labels": {"study": study.name},
        "base": base,
        "grid": stage.grid,
        "seeds": seeds,
    }
    plain: dict[str, Any] = json.loads(json.dumps(spec))
    return plain


def _following_nobody(stage: Stage, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The sweep without the experiments that it follows."""
    return {**spec, "base": assign(spec["base"], [f"{field}=null" for field in stage.follows])}


def _followed(stage: Stage, spec: Mapping[str, Any]) -> list[str]:
    """The experiments that a sweep of the stage follows."""
    return [reduce(getitem, field.split("."), spec["base"]) for field in stage.follows]


def _read(stage: Stage, kept: Mapping[str, Any]) -> Found:
    members = [
        Member(**{**member, "curves": {name: Series(**each, attempt=None) for name, each in member["curves"].items()}})
        for member in kept["members"]
    ]
    return Found(stage, members, kept["date"])
