"""Pictures of curves: that everything written can be read, and what the panels are called."""

import copy
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bilevel_client import Curves, Series
from bilevel_client.commands import sweep_plot
from bilevel_client.commands.comparing import names_apart
from bilevel_client.commands.plotting import STYLE, picture

SPEC: dict[str, Any] = {
    "problem": {"kind": "quadratic"},
    "algorithm": {"kind": "nested", "steps": 1, "hypergradient": {"kind": "reverse"}},
    "diagnostics": {"comparison": {"warn_above": 0.25}, "solver": {"warn_above": None}},
    "seed": 0,
}


def experiment(number: int, name: str, **algorithm: Any) -> dict[str, Any]:
    spec = copy.deepcopy(SPEC) | {"name": name}
    spec["algorithm"] |= algorithm
    progress = {"hyperiteration": 3, "hyperiterations": 3}
    return {"id": f"{number:08x}-0", "name": name, "spec": spec, "status": "succeeded", "progress": progress}


def members(count: int) -> list[dict[str, Any]]:
    """Members of a sweep whose names are long and differ at the end."""
    name = "what the number of inner steps does to the outer objective"
    return [
        experiment(steps, f"{name} [steps={steps}]", steps=steps) | {"sweep": {"id": "s", "member": steps}}
        for steps in range(count)
    ]


def pictured(records: list[dict[str, Any]], *names: str) -> Figure:
    """The figure as it is written, laid out."""
    curves = Curves({name: Series([0, 1, 2], [1.0, 0.5, 0.25], None) for name in names}, None)
    with mpl.rc_context(STYLE):
        figure = picture([(record, curves) for record in records])
        figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize(
    "series", [("outer_objective",), ("outer_objective", "validation/loss", "test/loss", "seconds")]
)
@pytest.mark.parametrize("count", [2, 3, 9, 16, 40])
def test_a_legend_is_within_the_picture_and_above_the_panels(count: int, series: tuple[str, ...]) -> None:
    figure = pictured(members(count), *series)
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == [f"steps={steps}" for steps in range(count)]
    box, page = legend.get_window_extent(), figure.bbox
    assert 0 <= box.x0 < box.x1 <= page.x1
    assert all(text.get_window_extent().x1 < page.x1 for text in figure.texts)
    highest = max(axes.get_tightbbox().y1 for axes in figure.axes if axes.axison)
    assert highest < box.y0 < box.y1 < min(text.get_window_extent().y0 for text in figure.texts)


@pytest.mark.parametrize("count", [9, 16, 32])
def test_no_two_experiments_look_the_same(count: int) -> None:
    figure = pictured(members(count), "validation/loss", "test/loss")
    keys = [line for line in figure.legends[0].legend_handles if isinstance(line, Line2D)]
    looks = [(line.get_color(), line.get_linestyle()) for line in keys]
    assert len({*looks}) == count
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Loss, validation", "Loss, test"]
    for axes in figure.axes:
        assert [(line.get_color(), line.get_linestyle()) for line in axes.get_lines()] == looks


def test_titles_of_one_experiment_are_within_a_narrow_picture() -> None:
    figure = pictured(members(1), "outer_objective")
    assert len(figure.texts) == 2
    assert all(text.get_window_extent().x1 <= figure.bbox.x1 for text in figure.texts)


def test_diagnostics_have_titles_and_lines_at_their_thresholds() -> None:
    figure = pictured(members(2), "comparison_error", "solver_residual", "direction_cosine", "mine")
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert list(panels) == [
        "Residual of the linear solve",
        "Difference from another hypergradient",
        "Cosine with the hypergradient before",
        "mine",
    ]
    lines = {title: [list(line.get_ydata()) for line in axes.get_lines()][2:] for title, axes in panels.items()}
    assert lines.pop("Difference from another hypergradient") == [[0.25, 0.25]]
    assert set(map(len, lines.values())) == {0}, "null is no threshold, and old specs have none"


@pytest.mark.parametrize(
    ("records", "names"),
    [
        (members(2), ["steps=0", "steps=1"]),
        ([experiment(0, "ridge of wine, cg"), experiment(1, "ridge of wine, dense")], ["cg", "dense"]),
        ([experiment(0, "cg on wine"), experiment(1, "dense one on wine")], ["cg", "dense one"]),
        ([experiment(0, "ridge"), experiment(1, "ridge again")], ["ridge", "ridge again"]),
        ([experiment(0, "a a"), experiment(1, "a a a b")], ["a a", "a a a b"]),
        ([experiment(0, "same"), experiment(1, "same", steps=4)], ["steps=1", "steps=4"]),
        ([experiment(0, "same"), experiment(1, "same")], ["(00000000)", "(00000001)"]),
        (
            [experiment(0, "on a"), experiment(1, "on a", steps=2), experiment(2, "on b")],
            ["a, steps=1", "a, steps=2", "b, steps=1"],
        ),
    ],
)
def test_names_say_what_differs(records: list[dict[str, Any]], names: list[str]) -> None:
    assert names_apart(records) == names


def test_the_seed_comes_last_in_a_name() -> None:
    records = members(2)
    records[1]["spec"]["seed"] = 1
    assert names_apart(records) == ["steps=0, seed=0", "steps=1, seed=1"]


def sweep_of(*parameters: dict[str, Any], seeds: int = 2) -> dict[str, Any]:
    """The record of a sweep, as far as a picture needs it."""
    cells = [
        {"parameters": each, "members": list(range(seeds * number, seeds * (number + 1))), "seeds": seeds}
        for number, each in enumerate(parameters)
    ]
    return {"name": "costs $1", "cells": cells}


def curve(*values: float) -> Series:
    return Series(list(range(len(values))), list(values), None)


def test_a_line_a_cell_with_the_range_over_its_seeds() -> None:
    record = sweep_of(
        {"algorithm.steps": 1, "problem.l2": 0},
        {"algorithm.steps": 4, "problem.l2": 0},
        {"algorithm.steps": 9, "problem.l2": 0},
    )
    curves = {0: curve(1, 0.5), 1: curve(3, 0.5, 0.1), 3: curve(4, 2)}
    figure = sweep_plot.picture(record, "test/loss", curves)
    (axes,) = figure.axes
    assert (axes.get_title(loc="left"), axes.get_ylabel()) == (r"costs \$1", "Loss, test")
    assert [list(line.get_ydata()) for line in axes.get_lines()] == [[2.0, 0.5], [4.0, 2.0]]
    (band,) = axes.collections
    assert (band.get_datalim(axes.transData).y0, band.get_datalim(axes.transData).y1) == (0.5, 3.0)
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["steps = 1", "steps = 4 (1 of 2 seeds)"]


def test_cells_are_told_apart_by_what_differs() -> None:
    solver = {"kind": "implicit", "solver": {"kind": "cg"}}
    cells = [{"a.steps": steps, "a.l2": 0.5, "h": h} for steps in (1, 2) for h in ({"kind": "reverse"}, solver)]
    figure = sweep_plot.picture(sweep_of(*cells, seeds=1), "outer_objective", {n: curve(1, 0.01) for n in range(4)})
    names = [text.get_text().replace("\n", " ") for text in figure.axes[0].get_legend().get_texts()]
    assert names == [f"steps={steps}, h={h}" for steps in (1, 2) for h in ("reverse", "implicit(solver=cg)")]
    assert figure.axes[0].get_yscale() == "log"


def test_a_single_cell_is_named_by_its_seeds() -> None:
    figure = sweep_plot.picture(sweep_of({"a.steps": 1}), "outer_objective", {0: curve(1, 0.5), 1: curve(3, 0.5)})
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["all seeds"]


def test_the_legend_of_many_cells_is_within_the_picture() -> None:
    cells = [{"a": f"{number} {'x' * 20}"} for number in range(40)]
    figure = sweep_plot.picture(sweep_of(*cells, seeds=1), "seconds", {n: curve(1, n) for n in range(40)})
    figure.draw_without_rendering()
    box = figure.axes[0].get_legend().get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert 0 <= box.y0 < box.y1 <= figure.bbox.y1
