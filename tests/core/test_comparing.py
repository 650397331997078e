"""Which member is the best, and means over seeds."""

import math
import statistics
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.comparing import Score, best, best_cell, cells, number, numbers, score, spread

NAN, INFINITY = math.nan, math.inf
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def scored(member: int, validation: float, better: Any = "higher", metric: str = "accuracy", **test: float) -> Score:
    return Score(member, {"steps": member // 2, "seed": member % 2}, metric, better, 10, validation, test)


@pytest.mark.parametrize(
    ("values", "better", "expected"),
    [
        ([0.5, 0.9, 0.7], "higher", 1),
        ([0.5, 0.9, 0.7], "lower", 0),
        ([0.9, 0.9], "higher", 0),
        ([0.9, 0.9], "lower", 0),
        ([NAN, 0.1], "higher", 1),
        ([NAN, 0.1], "lower", 1),
        ([INFINITY, 0.1], "higher", 1),
        ([-INFINITY, 0.1], "lower", 1),
        ([NAN, INFINITY], "lower", None),
        ([], "lower", None),
    ],
)
def test_the_best(values: list[float], better: Any, expected: int | None) -> None:
    found = best(scored(number, value, better) for number, value in enumerate(values))
    assert (found.member if found else None) == expected


def test_different_metrics_cannot_be_compared() -> None:
    assert best([scored(0, 0.5), scored(1, 0.4, "lower", "loss")]) is None
    assert best([scored(0, 0.5), scored(1, 0.4, "lower", "accuracy")]) is None
    assert best([scored(0, 0.5), scored(1, NAN, "lower", "loss")]) == scored(0, 0.5)


@pytest.mark.parametrize(
    ("field", "values", "comparable"),
    [
        ("problem.dataset", [{"kind": "a9a"}, {"kind": "20news"}], False),
        ("problem.dataset.kind", ["a9a", "20news"], False),
        ("problem", [{"kind": "regularization", "dataset": {"kind": kind}} for kind in ("a9a", "20news")], False),
        ("problem", [{"kind": "quadratic"}, {"kind": "random_quadratics"}], False),
        ("problem.dataset.reflections", [False, True], True),
        ("problem.dataset", [{"kind": "omniglot"}, {"kind": "omniglot", "reflections": True}], True),
    ],
)
def test_different_data_cannot_be_compared(field: str, values: list[Any], comparable: bool) -> None:
    scores = [scored(number, 0.5)._replace(parameters={field: value}) for number, value in enumerate(values)]
    assert (best(scores) is not None) == comparable


def test_cells_are_the_members_without_their_seeds() -> None:
    members = [{"a": a, "b": {"kind": b}, "seed": seed} for a in (1, True) for b in "xy" for seed in range(3)]
    scores = [
        Score(number, members[number], "loss", "lower", 5, float(number), {"loss": 10.0 * number})
        for number in (0, 1, 2, 3, 7)
    ]
    found = cells(members, reversed(scores))
    assert [dict(cell.parameters) for cell in found] == [
        {"a": a, "b": {"kind": b}} for a in (1, True) for b in "xy"
    ]  # 1 == True, but they are two cells
    assert [cell.members for cell in found] == [(0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11)]
    assert [cell.succeeded for cell in found] == [3, 1, 1, 0]
    assert found[0].validation == (1.0, 1.0)
    assert found[0].test == {"loss": (10.0, 10.0)}
    assert found[0].metric == "loss"
    assert found[1].validation == (3.0, None)
    assert found[3].validation is None
    assert found[3].metric is None
    assert found[3].test == {}


@settings(deadline=None, derandomize=True)
@given(st.lists(FINITE, min_size=2, max_size=10))
def test_the_deviation_is_that_of_a_sample(values: list[float]) -> None:
    found = spread(values)
    assert found.deviation is not None
    assert found.deviation >= 0
    assert min(values) <= found.mean <= max(values)
    assert found.mean == statistics.mean(values)
    if max(map(abs, values)) < 1e100:
        squares = math.fsum((value - found.mean) ** 2 for value in values)
        assert found.deviation == pytest.approx(math.sqrt(squares / (len(values) - 1)), rel=1e-6, abs=1e-100)


@pytest.mark.parametrize("values", [[NAN, 1.0], [INFINITY, 1.0], [INFINITY, -INFINITY]])
def test_what_is_not_finite_is_not_hidden(values: list[float]) -> None:
    found = spread(values)
    assert not math.isfinite(found.mean)
    assert found.deviation is not None
    assert math.isnan(found.deviation)
    assert spread([NAN]).deviation is None


def test_a_score_is_read_from_a_result() -> None:
    selection = {"metric": "accuracy", "better": "higher"}
    one_best = {"hyperiteration": 3, "validation": {"accuracy": {"mean": 0.5}, "loss": {"mean": "NaN"}}}
    found = score(4, {"seed": 1}, selection, one_best, {"accuracy": {"mean": 0.25}, "loss": {"mean": "Infinity"}})
    assert found == Score(4, {"seed": 1}, "accuracy", "higher", 3, 0.5, {"accuracy": 0.25, "loss": INFINITY})
    assert score(0, {}, None, one_best, None) is None
    assert score(0, {}, selection, None, None) is None
    assert score(0, {}, selection, {"hyperiteration": 0}, {}) is None
    assert score(0, {}, {"metric": "f1", "better": "higher"}, one_best, {}) is None


@pytest.mark.parametrize(
    ("validation", "expected"),
    [
        ([0.9, 0.1, 0.6, 0.6], 1),
        ([0.5, 0.5, 0.5, 0.5], 0),
        ([NAN, 0.9, 0.1, 0.1], 1),
        ([0.9, None, 0.1, 0.1], 1),
        ([0.9, None, 0.1, None], None),
        ([None, None, None, None], None),
        ([0.9, INFINITY, None, 0.9], None),
    ],
)
def test_the_best_cell_has_the_best_mean_of_all_its_seeds(validation: list[float | None], expected: int | None) -> None:
    scores = [scored(member, value) for member, value in enumerate(validation) if value is not None]
    groups = cells([{"steps": member // 2, "seed": member % 2} for member in range(4)], scores)
    found = best_cell(groups, scores)
    assert found == (None if expected is None else groups[expected])


def test_there_is_no_best_cell_of_single_seeds_or_of_different_data() -> None:
    scores = [scored(member, 0.5)._replace(parameters={"steps": member, "seed": 0}) for member in range(2)]
    assert best_cell(cells([each.parameters for each in scores], scores), scores) is None
    kinds = [{"problem.dataset.kind": kind, "seed": seed} for kind in ("a9a", "20news") for seed in range(2)]
    scores = [scored(member, 0.5)._replace(parameters=parameters) for member, parameters in enumerate(kinds)]
    assert best_cell(cells(kinds, scores), scores) is None
    assert best_cell(cells(kinds[:2], scores[:2]), scores[:2]) is not None


def test_values_are_over_the_members_that_have_them() -> None:
    members = [{"steps": member // 3, "seed": member % 3} for member in range(6)]
    values: dict[int, dict[str, float]] = {0: {"a": 1.0, "b": 5.0}, 1: {"a": 3.0}, 2: {}, 4: {"b": NAN}}
    first, second = cells(members, [], values)
    assert first.values == {"a": (2.0, 2**0.5), "b": (5.0, None)}
    assert list(second.values) == ["b"]
    assert cells(members, [])[0].values == {}


def test_numbers_of_a_result() -> None:
    found = {"a": {"b": 1, "c": "NaN", "d": "text", "e": None, "f": True}, "g": [0.5, [2.0]], "h": {}, "i": "-Infinity"}
    assert list(numbers(found)) == ["a.b", "a.c", "g.0", "g.1.0", "i"]
    assert number("-Infinity") == -INFINITY
    assert number(2) == 2.0
    assert [number(each) for each in (True, None, "3", [1.0], {})] == [None] * 5
