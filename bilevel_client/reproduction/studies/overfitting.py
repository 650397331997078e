"""When does the outer level overfit? The outer objective against the meta-test loss, which the paper leaves open."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bilevel_client.records import Series
from bilevel_client.reproduction.document import Document, Picture, Section, Table, Text
from bilevel_client.reproduction.figures import Band, banded, lines
from bilevel_client.reproduction.study import Found, Member, Results, Stage, Study
from bilevel_client.reproduction.values import absent, ended, ending

TASKS, QUERY, STEPS = (16, 64, 256, 1024), (1, 5, 15), (1, 4, 16)
SEEDS = (0, 1, 2)
LAST = 50
"""Hyperiterations over which the outer objective is averaged at the end."""
BASE: dict[str, Any] = {
    "problem": {
        "kind": "hyper_representation",
        "dataset": {"kind": "omniglot"},
        "model": {"kind": "conv4", "filters": 16, "norm_scale": False},
        "way": 5,
        "shot": 1,
        "query": 15,
        "meta_batch": 8,
        "tasks": 256,
    },
    "algorithm": {
        "kind": "nested",
        "steps": 4,
        "dynamics": {"kind": "gradient_descent", "rate": 0.1},
        "hypergradient": {"kind": "reverse"},
        "optimizer": {"kind": "adam", "rate": 0.001},
        "hyperiterations": 600,
    },
    "evaluation": {"every": 200, "episodes": 200},
}
AXES = {
    "tasks": "number of tasks in meta-training",
    "training_query": "validation (query) examples of each class in meta-training",
    "steps": "inner steps T",
}
QUICK = {
    "algorithm.hyperiterations": 60,
    "evaluation.every": 30,
    "evaluation.episodes": 20,
    "seeds": (0,),
}


def report(results: Results) -> Document:
    """For each quantity that grows: outer objective in meta-training, meta-test loss, and their difference."""
    sections = [Section("What is measured", [Text(WORDS)])]
    sections += [_section(name, results[name]) for name in AXES if name in results]
    sections += ending(results)
    return Document("When does the outer level overfit?", sections)


WORDS = (
    "A fixed number of tasks is drawn once, and meta-batches are drawn from them; the outer objective is the mean "
    f"query loss of the last {LAST} meta-batches, and the meta-test loss that of unseen classes under the last outer "
    "variables, always with 15 query examples of each class. The gap is by how much the latter is larger. Mean and "
    "range over seeds; a seed changes split, tasks and initialization."
)


def _section(name: str, found: Found) -> Section:
    asked = {value: found.at(**{name: value}) for value in found.stage.grid[_path(found, name)]}
    groups = {value: members for value, members in asked.items() if members}
    if not groups:
        return Section(AXES[name], [Text(f"Nothing to show: {absent(found)}.")])
    rows = [
        [str(value), *(_row(members) if members else [ended(found.every(**{name: value})), "", "", "", "0"])]
        for value, members in asked.items()
    ]
    bands = {"outer objective": _band(groups, _outer), "meta-test loss": _band(groups, _test)}
    figure = lines(
        bands, title="Outer objective and meta-test loss", y="cross-entropy", x=AXES[name], logarithmic_x=True
    )
    columns = (AXES[name], "outer objective", "meta-test loss", "gap", "meta-test accuracy", "seeds")
    picture = Picture(f"overfitting_{name}", f"Outer objective and meta-test loss by the {AXES[name]}.", figure)
    return Section(AXES[name], [Table(columns, rows), picture])


def _path(found: Found, name: str) -> str:
    return next(path for path in found.stage.grid if path.rsplit(".", 1)[-1] == name)


def _row(members: Sequence[Member]) -> list[str]:
    outer, test = (statistics.fmean(map(measure, members)) for measure in (_outer, _test))
    accuracy = statistics.fmean(float(member.result["final"]["test"]["accuracy"]["mean"]) for member in members)
    gaps = [_test(member) - _outer(member) for member in members]
    spread = f" ({min(gaps):+.3f} to {max(gaps):+.3f})" if len(gaps) > 1 else ""
    return [f"{outer:.3f}", f"{test:.3f}", f"{test - outer:+.3f}{spread}", f"{100 * accuracy:.2f} %", str(len(members))]


def _band(groups: Mapping[float, Sequence[Member]], measure: Callable[[Member], float]) -> Band:
    return banded(groups, [[measure(member) for member in members] for members in groups.values()])


def _outer(member: Member) -> float:
    curve: Series = member.curves["outer_objective"]
    last = [value for step, value in zip(curve.step, curve.value, strict=True) if step > curve.step[-1] - LAST]
    return statistics.fmean(last)


def _test(member: Member) -> float:
    return float(member.result["final"]["test"]["loss"]["mean"])


STUDY = Study(
    "overfitting",
    "When does the outer level overfit?",
    [
        Stage("tasks", BASE, {"problem.tasks": TASKS}, SEEDS, QUICK),
        Stage("training_query", BASE, {"problem.training_query": QUERY}, SEEDS, QUICK),
        Stage("steps", BASE, {"algorithm.steps": STEPS}, SEEDS, QUICK),
    ],
    report,
)
