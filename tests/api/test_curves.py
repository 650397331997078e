"""Curves: of several attempts one, of many points few, in three formats."""

import csv
import io
import json
import math
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text


@pytest.fixture
def place(submitted: str) -> str:
    return f"/v1/experiments/{submitted}/curves"


def series(client: httpx.Client, place: str, **params: Any) -> dict[str, Any]:
    answer = client.get(place, params=params)
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["series"])


def test_without_points_there_are_no_series(client: httpx.Client, place: str) -> None:
    assert client.get(place).json() == {"series": {}, "next": -1}


def test_points_come_in_columns(client: httpx.Client, submitted: str, place: str, slot: Any) -> None:
    attempt = slot.start(submitted)
    slot.write(submitted, attempt, {"outer_objective": {0: 2.5, 1: 2.25}, "validation/accuracy": {0: 0.1}})
    slot.write(submitted, attempt, {"outer_objective": {2: 2.0}})
    assert client.get(place).json()["series"] == {
        "outer_objective": {"step": [0, 1, 2], "value": [2.5, 2.25, 2.0]},
        "validation/accuracy": {"step": [0], "value": [0.1]},
    }


def test_non_finite_values_are_strings(client: httpx.Client, submitted: str, place: str, slot: Any) -> None:
    values = {0: math.nan, 1: math.inf, 2: -math.inf, 3: 1e308}
    slot.write(submitted, slot.start(submitted), {"x": values})
    assert series(client, place)["x"]["value"] == ["NaN", "Infinity", "-Infinity", 1e308]


def test_the_highest_attempt_wins_at_each_step(client: httpx.Client, submitted: str, place: str, slot: Any) -> None:
    first = slot.start(submitted)
    slot.write(submitted, first, {"x": {0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0}, "once": {0: 5.0}})
    slot.write(submitted, first, {"x": {4: 4.0, 5: 5.0}})
    slot.release(submitted, first)
    second = slot.start(submitted)
    slot.write(submitted, second, {"x": {3: 30.0, 4: 40.0}})

    found = series(client, place)
    assert found["x"] == {
        "step": [0, 1, 2, 3, 4, 5],
        "value": [0.0, 1.0, 2.0, 30.0, 40.0, 5.0],
        "attempt": [1, 1, 1, 2, 2, 1],
    }
    assert found["once"] == {"step": [0], "value": [5.0], "attempt": [1]}
    assert series(client, place, max_points=4)["x"]["value"][-1] == 5.0


def test_series_are_chosen_by_name_and_pattern(client: httpx.Client, submitted: str, place: str, slot: Any) -> None:
    names = ["outer/rate", "outer/rate_2", "outer_objective", "seconds", "100%"]
    slot.write(submitted, slot.start(submitted), {name: {0: 1.0} for name in names})
    assert set(series(client, place)) == set(names)
    assert set(series(client, place, series="outer/*")) == {"outer/rate", "outer/rate_2"}
    assert set(series(client, place, series=["seconds", "outer_*"])) == {"seconds", "outer_objective"}
    assert set(series(client, place, series="outer/rate??")) == {"outer/rate_2"}
    assert set(series(client, place, series="100%")) == {"100%"}
    assert series(client, place, series="nothing") == {}


def test_thinning_keeps_spikes_both_ends_and_the_limit(
    client: httpx.Client, submitted: str, place: str, slot: Any
) -> None:
    attempt = slot.start(submitted)
    values = {step: 1.0 + 1e-4 * math.sin(step) for step in range(20_000)}
    values |= {7_777: 100.0, 12_345: -100.0, 15_000: math.nan}
    for start in range(0, 20_000, 500):
        slot.write(submitted, attempt, {"x": {step: values[step] for step in range(start, start + 500)}})

    for limit in (4, 100, 500):
        thinned = series(client, place, max_points=limit)["x"]
        points = dict(zip(thinned["step"], thinned["value"], strict=True))
        assert len(points) <= limit
        assert thinned["step"] == sorted(points)
        assert points[0] == values[0]
        assert points[19_999] == values[19_999]
        assert points[12_345] == -100.0
        assert points[15_000] == "NaN"
        assert all(value == "NaN" or value == values[step] for step, value in points.items())
        if limit >= 100:
            assert points[7_777] == 100.0
    assert len(series(client, place)["x"]["step"]) > 400


def test_thinning_merges_attempts_first(client: httpx.Client, submitted: str, place: str, slot: Any) -> None:
    first = slot.start(submitted)
    slot.write(submitted, first, {"x": dict.fromkeys(range(100), 1000.0)})
    slot.release(submitted, first)
    second = slot.start(submitted)
    slot.write(submitted, second, {"x": {step: float(step) for step in range(50, 100)}})
    thinned = series(client, place, max_points=20)["x"]
    assert len(thinned["step"]) <= 20
    assert {value for step, value in zip(thinned["step"], thinned["value"], strict=True) if step < 50} == {1000.0}
    assert all(value == step for step, value in zip(thinned["step"], thinned["value"], strict=True) if step >= 50)


def test_a_sparse_series_is_not_thinned(client: httpx.Client, submitted: str, place: str, slot: Any) -> None:
    points = {step: float(step % 7) for step in range(0, 60_000, 200)}
    slot.write(submitted, slot.start(submitted), {"validation/accuracy": points})
    assert series(client, place)["validation/accuracy"]["step"] == list(points)


def test_the_tail_continues_where_an_answer_ended(client: httpx.Client, submitted: str, place: str, slot: Any) -> None:
    attempt = slot.start(submitted)
    gathered: dict[int, float] = {}
    after = -1
    for start in (0, 10, 20):
        slot.write(submitted, attempt, {"x": {step: float(step) for step in range(start, start + 10)}})
        answer = client.get(place, params={"after": after}).json()
        assert min(answer["series"]["x"]["step"]) >= start - 1
        gathered |= dict(zip(answer["series"]["x"]["step"], answer["series"]["x"]["value"], strict=True))
        after = answer["next"]
    assert gathered == {step: float(step) for step in range(30)}


def test_points_of_the_same_step_that_come_late_are_in_the_tail(
    client: httpx.Client, submitted: str, place: str, slot: Any
) -> None:
    attempt = slot.start(submitted)
    slot.write(submitted, attempt, {"x": {0: 0.0, 1: 1.0}})
    after = client.get(place).json()["next"]
    slot.write(submitted, attempt, {"validation/accuracy": {1: 0.5}})
    assert "validation/accuracy" in series(client, place, after=after)


def test_after_the_end_the_tail_is_empty(client: httpx.Client, submitted: str, place: str, slot: Any) -> None:
    attempt = slot.start(submitted)
    slot.write(submitted, attempt, {"x": {0: 0.0, 100: 1.0}})
    slot.succeed(submitted, attempt, {"best": {}})
    after = client.get(place).json()["next"]
    assert after == 100
    assert client.get(place, params={"after": after}).json() == {"series": {}, "next": 100}


class TestFormats:
    @pytest.fixture(autouse=True)
    def points(self, submitted: str, slot: Any) -> None:
        values = {step: float(step) for step in range(25_000)} | {25_000: math.nan}
        slot.write(submitted, slot.start(submitted), {'odd, "name"': {0: 1.0}, "x": values})

    def test_csv_has_every_point(self, client: httpx.Client, place: str) -> None:
        answer = client.get(place, headers={"Accept": "text/csv"})
        assert answer.headers["Content-Type"].startswith("text/csv")
        assert answer.headers["Vary"] == "Accept"
        rows = list(csv.reader(io.StringIO(answer.text)))
        assert rows[0] == ["series", "step", "value", "attempt"]
        assert rows[1] == ['odd, "name"', "0", "1.0", "1"]
        assert rows[-1] == ["x", "25000", "NaN", "1"]
        assert [int(row[1]) for row in rows[2:]] == list(range(25_001))

    def test_ndjson_has_every_point(self, client: httpx.Client, place: str) -> None:
        answer = client.get(place, params={"series": "x", "after": 24_990}, headers={"Accept": "application/x-ndjson"})
        rows = [json.loads(line) for line in answer.text.splitlines()]
        assert rows[0] == {"series": "x", "step": 24_991, "value": 24_991.0, "attempt": 1}
        assert rows[-1]["value"] == "NaN"

    def test_series_with_long_gaps_are_whole(
        self, client: httpx.Client, engine: Engine, place: str, submitted: str, slot: Any
    ) -> None:
        steps = [0, 9_999, 10_000, 10_001, 25_000, 61_000]
        with engine.connect() as connection:
            (attempt,) = connection.execute(text("SELECT number FROM attempts")).scalars()
        slot.write(submitted, attempt, {"sparse": dict.fromkeys(steps, 1.0)})
        for after, expected in ((-1, steps), (9_999, steps[2:]), (60_999, [61_000]), (61_000, [])):
            params: dict[str, Any] = {"series": "sparse", "after": after}
            answer = client.get(place, params=params, headers={"Accept": "application/x-ndjson"})
            assert [json.loads(line)["step"] for line in answer.text.splitlines()] == expected

    def test_every_form_says_that_it_depends_on_what_is_accepted(self, client: httpx.Client, place: str) -> None:
        assert client.get(place).headers["Vary"] == "Accept"

    @pytest.mark.parametrize(
        ("accept", "media_type"),
        [
            ("*/*", "application/json"),
            ("text/html, */*;q=0.1", "application/json"),
            ("text/*", "text/csv"),
            ("application/json;q=0.5, text/csv", "text/csv"),
            ("application/*;q=0.2, application/x-ndjson", "application/x-ndjson"),
            ("TEXT/CSV; charset=utf-8", "text/csv"),
        ],
    )
    def test_the_client_chooses(self, client: httpx.Client, place: str, accept: str, media_type: str) -> None:
        answer = client.get(place, params={"after": 24_999}, headers={"Accept": accept})
        assert answer.headers["Content-Type"].startswith(media_type)

    @pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "image/png, text/csv;q=x"])
    def test_what_is_not_offered(self, client: httpx.Client, place: str, accept: str) -> None:
        answer = client.get(place, headers={"Accept": accept})
        assert answer.status_code == 406
        assert answer.json()["code"] == "not_acceptable"
        assert "text/csv" in answer.json()["detail"]
