"""Projections by what defines them: feasible, idempotent, nonexpansive, nearest.

Nearest: p = P(x) if and only if p is feasible and <x - p, y> <= <x - p, p> for all feasible y, that is, if the
support function of the set at x - p is attained at p. The support functions are written out here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.bilevel import projections

RADIUS = 2.5


class Case(NamedTuple):
    project: Callable[[Tensor], Tensor]
    excess: Callable[[Tensor], Tensor]
    """How far a point violates the constraints."""
    support: Callable[[Tensor], Tensor]
    """g -> sup over the set of <g, y>."""


def greedy(g: Tensor, total: float, low: float, high: float) -> Tensor:
    """sup <g, y> over low <= y <= high, sum y <= total: from all `low`, raise the best entries while there is room."""
    room = (total - low * g.numel()) / (high - low)
    gains = g.clamp(min=0).sort(descending=True).values
    taken = (room - torch.arange(g.numel())).clamp(0, 1)
    if room - g.numel() > 0:
        return (gains * (high - low)).sum() + low * g.sum()
    return (gains * taken * (high - low)).sum() + low * g.sum()


CASES = {
    "box": Case(
        lambda x: projections.box(x, -1.0, 2.0),
        lambda y: torch.maximum(y - 2, -1 - y).max(),
        lambda g: torch.maximum(-g, 2 * g).sum(),
    ),
    "nonnegative": Case(
        projections.nonnegative,
        lambda y: (-y).max(),
        lambda g: torch.where(g <= 0, 0.0, torch.inf).sum(),
    ),
    "simplex": Case(
        lambda x: projections.simplex(x, RADIUS),
        lambda y: torch.maximum((-y).max(), (y.sum() - RADIUS).abs()),
        lambda g: RADIUS * g.max(),
    ),
    "l1_ball": Case(
        lambda x: projections.l1_ball(x, RADIUS),
        lambda y: y.abs().sum() - RADIUS,
        lambda g: RADIUS * g.abs().max(),
    ),
    "box_with_bounded_sum": Case(
        lambda x: projections.box_with_bounded_sum(x, RADIUS),
        lambda y: torch.stack([(-y).max(), y.max() - 1, y.sum() - RADIUS]).max(),
        lambda g: greedy(g, RADIUS, 0.0, 1.0),
    ),
    "box_with_bounded_sum_elsewhere": Case(
        lambda x: projections.box_with_bounded_sum(x, RADIUS, low=-1.0, high=3.0),
        lambda y: torch.stack([(-1 - y).max(), y.max() - 3, y.sum() - RADIUS]).max(),
        lambda g: greedy(g, RADIUS, -1.0, 3.0),
    ),
}
entries = st.one_of(st.integers(-3, 3).map(float), st.floats(-5, 5, width=32))  # ties and kinks are likely
vectors = st.lists(entries, min_size=1, max_size=9).map(lambda values: torch.tensor(values, dtype=torch.float64))


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=150, deadline=None, derandomize=True)
@given(x=vectors)
def test_is_the_nearest_feasible_point(name: str, x: Tensor) -> None:
    case = CASES[name]
    p = case.project(x)
    assert p.shape == x.shape
    assert case.excess(p) <= 1e-9
    slope = x - p
    slope = torch.where(slope.abs() < 1e-12, 0.0, slope)
    assert case.support(slope) <= (slope * p).sum() + 1e-9
    assert torch.allclose(case.project(p), p, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(pair=st.integers(1, 8).flatmap(lambda n: st.tuples(*[st.lists(entries, min_size=n, max_size=n)] * 2)))
def test_is_nonexpansive(name: str, pair: tuple[list[float], list[float]]) -> None:
    x, y = (torch.tensor(values, dtype=torch.float64) for values in pair)
    project = CASES[name].project
    distance = torch.linalg.vector_norm(project(x) - project(y))
    assert distance <= torch.linalg.vector_norm(x - y) + 1e-9


@pytest.mark.parametrize("name", CASES)
def test_a_point_of_the_set_stays_as_it_is(name: str) -> None:
    inside = torch.full((2, 2), RADIUS / 4, dtype=torch.float64)
    assert torch.allclose(CASES[name].project(inside), inside, rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", CASES)
def test_single_precision_with_many_entries(name: str) -> None:
    x = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    single, double = CASES[name].project(x), CASES[name].project(x.double())
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), double, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_nan_stays_visible(name: str) -> None:
    assert CASES[name].project(torch.tensor([0.1, torch.nan, 5.0])).isnan().any()


def test_sums_that_are_whole_numbers() -> None:
    """All in, none in, and exactly as many as fit."""
    x = torch.tensor([5.0, 5.0, -1.0, 0.25])
    assert projections.box_with_bounded_sum(x, 0.0).tolist() == [0, 0, 0, 0]
    assert projections.box_with_bounded_sum(x, 2.0).tolist() == [1, 1, 0, 0]
    assert projections.box_with_bounded_sum(x, 4.0).tolist() == [1, 1, 0, 0.25]


def test_a_tree_keeps_the_order_of_its_keys_and_no_other_tree_is_taken() -> None:
    lam: Any = {"a": torch.tensor([-1.0]), "b": {"c": torch.tensor([2.0]), "d": torch.tensor([3.0])}}
    turned = projections.in_order(lambda lam: {"b": dict(reversed(lam["b"].items())), "a": lam["a"].clamp(min=0)})  # type: ignore[call-overload,index,union-attr]
    found: Any = turned(lam)
    assert list(found) == ["a", "b"]
    assert list(found["b"]) == ["c", "d"]
    torch.testing.assert_close(found, {**lam, "a": torch.zeros(1)})
    for other in ({"a": lam["a"]}, {"a": lam["a"], "b": lam["a"]}, {"a": lam["b"], "b": lam["b"]}, lam["a"]):
        with pytest.raises(ValueError, match="`project` has to return a tree like the outer variables"):
            projections.in_order(lambda _, other=other: other)(lam)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: projections.box(x, 1.0, 0.0), "low = 1.0 is above high = 0.0"),
        (lambda x: projections.simplex(x, 0.0), "total is 0.0"),
        (lambda x: projections.l1_ball(x, -1.0), "radius is -1.0"),
        (lambda x: projections.box_with_bounded_sum(x, 1.0, low=0.5), "total = 1.0 >= 1.5"),
    ],
)
def test_empty_sets_are_refused(call: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(3))
