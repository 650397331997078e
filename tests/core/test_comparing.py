"""Which member is the best, and means over seeds."""

import math
import statistics
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.comparing import Score, best, cells, score, spread

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
