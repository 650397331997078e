"""Numbers as people want to read them."""

import math
from datetime import UTC, datetime

import pytest

from bilevel_client.commands.numbers import age, duration, in_order, number, percent, sparkline


@pytest.mark.parametrize(
    ("value", "text"), [(0.123456, "0.1235"), (1e-7, "1e-07"), (math.nan, "NaN"), ("Infinity", "∞"), (-math.inf, "-∞")]
)
def test_number(value: float | str, text: str) -> None:
    assert number(value) == text


def test_percent() -> None:
    assert percent(0.97531) == "97.53 %"
    assert percent("NaN") == "NaN"


def test_names_are_in_the_order_of_their_numbers() -> None:
    names = ["outer/rate/10", "outer/rate/2", "validation/loss", "outer/rate", "2/x", "outer/rate/2/b"]
    assert in_order(names) == ["2/x", "outer/rate", "outer/rate/2", "outer/rate/2/b", "outer/rate/10", names[2]]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.96, "10.0 s"), (59.6, "60 s"), (125, "2 min 05 s"), (7322, "2 h 02 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("second", "text"), [(5, "just now"), (600, "10 min ago"), (2e5, "2 d ago")])
def test_age(second: float, text: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    moment = datetime.fromtimestamp(now.timestamp() - second, UTC).isoformat().replace("+00:00", "Z")
    assert age(moment, now) == text


def test_sparkline() -> None:
    assert sparkline([]) == ""
    assert sparkline([1.0]) == "▁"
    assert sparkline([0.0, 1.0, math.nan, 0.5]) == "▁█×▅"
    long = sparkline([float(k) for k in range(1000)])
    assert len(long) == 24
    assert (long[0], long[-1]) == ("▁", "█")
    assert sparkline([math.inf]) == "×"
