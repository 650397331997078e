"""The cases that plans are checked on cover what their docstring and docs/planning.md say."""

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.plan_cases import cases
from core.spec import KINDS, kind_of
from core.spec.datasets import OwnTable
from core.spec.plugins import PluginModel, PluginProblem

COVERED = (
    "problem",
    "dataset",
    "model",
    "heads",
    "optimizer_network",
    "tasks",
    "algorithm",
    "dynamics",
    "hypergradient",
    "solver",
)


def kinds(spec: Any) -> Iterator[str]:
    """All that a spec has anywhere."""
    if isinstance(spec, dict):
        yield from (value for field, value in spec.items() if field == "kind")
        for value in spec.values():
            yield from kinds(value)


FOUND = {kind for case in cases() for kind in kinds(case.spec().model_dump(mode="json"))}


@pytest.mark.parametrize("section", COVERED)
def test_every_kind_is_planned_and_measured(section: str) -> None:
    theirs = PluginProblem | PluginModel | OwnTable  # a table of one's own costs what others of its sizes do
    ours = [member for member in KINDS[section] if not issubclass(member, theirs)]
    assert {kind_of(member) for member in ours} - FOUND == set()


def test_names_are_of_one_case_each() -> None:
    names = [case.name for case in cases()]
    assert len(set(names)) == len(names)
