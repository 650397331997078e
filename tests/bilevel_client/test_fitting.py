"""Tables in narrow terminals: what says which row it is stays whole, figures are whole or left out with a note."""

import io
from typing import Any

import pytest
from rich.console import Console, RenderableType

from bilevel_client.client import Curves, Series
from bilevel_client.commands import sweep_tables, tables
from bilevel_client.commands.fitting import Column, Rows

WIDTHS = [80, 100, 120]
ID = "99ddb1b2-fba7-4766-bec0-3dae1db987a5"
PARAMETERS = {"problem.initial_strength": 0.0001, "algorithm.steps": 16, "seed": 4}
METRICS = {"accuracy": 0.98765, "absolute_error": 12.34, "loss": 1.234e-05, "accuracy_running_statistics": 0.87654}


def rendered(content: RenderableType, width: int) -> str:
    console = Console(width=width, force_terminal=True, color_system=None, file=io.StringIO(), highlight=False)
    console.print(content)
    shown: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(len(line) for line in shown.splitlines()) <= width
    return shown


def experiment(name: str = "one representation for 20 ways") -> dict[str, Any]:
    return {
        "id": ID,
        "name": name,
        "labels": {"project": "a long label of a project"},
        "status": "succeeded",
        "progress": {"hyperiteration": 20000, "hyperiterations": 20000, "eta_seconds": None},
        "created_at": "2026-01-01T00:00:00Z",
        "waiting_for": None,
        "spec": {"problem": {"kind": "hyper_representation"}},
    }


def member(number: int) -> dict[str, Any]:
    return {
        "member": number,
        "trial": 1,
        "experiment_id": ID,
        "parameters": PARAMETERS,
        "status": "succeeded",
        "progress": {"hyperiteration": 20000, "hyperiterations": 20000},
        "score": {"metric": "accuracy", "validation": 0.91234, "test": METRICS},
        "error": None,
    }


def sweep(parameters: dict[str, Any]) -> dict[str, Any]:
    spread = {"mean": 0.91234, "deviation": 0.01, "values": 3}
    cell = {
        "parameters": parameters,
        "seeds": 3,
        "succeeded": 3,
        "metric": "accuracy",
        "validation": spread,
        "test": {name: spread | {"mean": value} for name, value in METRICS.items()},
    }
    return {
        "id": ID,
        "name": "strengths",
        "labels": {},
        "members": 3,
        "counts": {"succeeded": 3},
        "created_at": "2026-01-01T00:00:00Z",
        "progress": {"hyperiteration": 3, "hyperiterations": 3, "fraction": 1.0},
        "cells": [cell],
        "best": None,
    }


@pytest.mark.parametrize("width", WIDTHS)
def test_experiments_keep_id_name_status_and_progress(width: int) -> None:
    shown = rendered(tables.experiments([experiment()]), width)
    for word in ("99ddb1b2", "representation", "20", "ways", "succeeded", "20000/20000"):
        assert word in shown
    labels = "project:a" in shown
    assert ("left out" in shown) != labels
    assert not labels or "project" in shown.split("project:a", 1)[1]


@pytest.mark.parametrize("width", WIDTHS)
def test_members_keep_what_says_which_they_are(width: int) -> None:
    shown = rendered(sweep_tables.members(sweep(PARAMETERS), [member(number) for number in range(10, 13)]), width)
    (row,) = [line.split() for line in shown.splitlines() if line.split()[:1] == ["11"]]
    for word in ("99ddb1b2", "0.0001", "16", "4", "succeeded", "91.23"):
        assert word in row
    for name in ("member", "id", "initial_strength", "steps", "seed", "status"):
        assert name in shown
    assert "left out (" in shown
    assert "a wider terminal or --json shows them." in " ".join(shown.split())


@pytest.mark.parametrize("width", WIDTHS)
def test_figures_of_a_sweep_are_whole_or_left_out(width: int) -> None:
    shown = rendered(sweep_tables.sweep(sweep({"problem.initial_strength": 0.0001, "algorithm.steps": 16})), width)
    (row,) = [line for line in shown.splitlines() if "0.0001" in line]
    cells = [cell.strip() for cell in row.strip().split("   ") if cell.strip()]
    assert cells[:5] == ["0.0001", "16", "3/3", "91.23 ± 1.00 %", "98.77 ± 1.00 %"]
    assert set(cells[5:]) <= {"12.34 ± 0.01", "87.65 ± 1.00 %", "1.234e-05 ± 0.01"}
    assert ("left out" in shown) == (width < 120)


@pytest.mark.parametrize("width", WIDTHS)
def test_curves_keep_the_names_of_series(width: int) -> None:
    values = [-1.234e-05, -9.876e-05]
    names = ("validation/accuracy_batch_statistics", "outer_objective")
    found = Curves({name: Series([0, 1], values, None) for name in names}, 1)
    shown = rendered(tables.curves(experiment(), found), width)
    for word in (*names, "-9.876e-05"):
        assert word in shown
    assert "…" not in shown


@pytest.mark.parametrize("width", [20, 40])
def test_where_nothing_fits_the_rows_are_listed_whole(width: int) -> None:
    shown = rendered(sweep_tables.members(sweep(PARAMETERS), [member(0), member(1)]), width)
    assert shown.count("initial_strength") == 2
    assert "left out" not in shown
    assert "87.65" in shown


def test_columns_go_by_rank_and_then_from_the_right() -> None:
    rows = Rows("key", Column("a", rank=2), Column("b", rank=1), Column("c", rank=1), Column("d", rank=2))
    rows.add_row(*("0123456789",) * 5)
    for width, note in ((64, ""), (63, "1 column is left out (d)"), (50, "2 columns are left out (a, d)")):
        shown = rendered(rows, width)
        assert note in shown
        assert ("left out" in shown) == bool(note)


def test_names_of_columns_break_before_a_column_is_left_out() -> None:
    rows = Rows("key", Column("test absolute error", rank=1))
    rows.add_row("0123456789", "1.25")
    assert "left out" not in rendered(rows, 23)
    assert "test absolute error" in rendered(rows, 34)
    assert "left out (test absolute error)" in " ".join(rendered(rows, 22).split())


def test_brackets_are_text() -> None:
    rows = Rows("values")
    rows.add_row("[/x] [0.1, 0.2] [red]")
    assert "[/x] [0.1, 0.2] [red]" in rendered(rows, 80)
