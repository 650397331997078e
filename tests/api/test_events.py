"""The event stream: history, progress, the end, and going on after a lost connection."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from httpx_sse import ServerSentEvent, connect_sse


def events(client: httpx.Client, experiment_id: str, **headers: str) -> Iterator[ServerSentEvent]:
    with connect_sse(client, "GET", f"/v1/experiments/{experiment_id}/events", headers=headers) as source:
        yield from source.iter_sse()


def finish(slot: Any, experiment_id: str) -> None:
    attempt = slot.start(experiment_id)
    slot.write(experiment_id, attempt, {"x": {0: 1.0}})
    slot.succeed(experiment_id, attempt, {"best": {}})


def test_a_finished_experiment_tells_its_history_and_ends(client: httpx.Client, submitted: str, slot: Any) -> None:
    finish(slot, submitted)
    heard = list(events(client, submitted))
    assert [event.event for event in heard] == ["queued", "started", "succeeded"]
    assert [event.id for event in heard] == ["1", "2", "4"]
    content = heard[1].json()
    assert content["version"] == 2
    assert content["data"] == {"attempt": 1, "slot": "test", "device": "cpu"}
    assert content["at"].endswith("Z")


def test_last_event_id_goes_on_where_the_client_was(client: httpx.Client, submitted: str, slot: Any) -> None:
    finish(slot, submitted)
    heard = list(events(client, submitted, **{"Last-Event-ID": "2"}))
    assert [event.id for event in heard] == ["4"]
    with connect_sse(client, "GET", f"/v1/experiments/{submitted}/events", params={"after": 2}) as source:
        assert [event.id for event in source.iter_sse()] == ["4"]


def test_a_client_that_has_everything_is_told_not_to_come_back(client: httpx.Client, submitted: str, slot: Any) -> None:
    finish(slot, submitted)
    answer = client.get(f"/v1/experiments/{submitted}/events", headers={"Last-Event-ID": "4"})
    assert answer.status_code == 204


def test_what_happens_arrives_while_it_happens(client: httpx.Client, submitted: str, slot: Any) -> None:
    heard = events(client, submitted)
    assert next(heard).event == "queued"
    attempt = slot.start(submitted)
    begin = time.monotonic()
    assert next(heard).event == "started"
    assert time.monotonic() - begin < 4
    for step in range(3):
        slot.write(submitted, attempt, {"x": {step: 1.0}})
    progress = next(heard)
    assert progress.event == "progress"
    assert progress.id == "5"
    assert progress.json()["progress"]["hyperiteration"] == 2
    assert progress.json()["status"] == "running"
    slot.succeed(submitted, attempt, {"best": {}})
    assert [event.event for event in heard] == ["succeeded"]


def test_progress_is_told_at_most_once_a_second(client: httpx.Client, submitted: str, slot: Any) -> None:
    attempt = slot.start(submitted)

    def write() -> None:
        for step in range(50):
            slot.write(submitted, attempt, {"x": {step: 1.0}})
            time.sleep(0.04)
        slot.succeed(submitted, attempt, {"best": {}})

    writer = threading.Thread(target=write)
    writer.start()
    begin = time.monotonic()
    heard = list(events(client, submitted))
    took = time.monotonic() - begin
    writer.join()
    told = [event for event in heard if event.event == "progress"]
    assert 1 <= len(told) <= took + 1
    assert [int(event.id) for event in heard] == sorted({int(event.id) for event in heard})
    assert heard[-1].event == "succeeded"


def test_listening_goes_on_after_the_connection_was_cut(
    client: httpx.Client, submitted: str, slot: Any, database_url: str
) -> None:
    heard = events(client, submitted)
    next(heard)
    with psycopg.connect(database_url, autocommit=True) as connection:
        cut = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bilevel-listen'"
            " AND datname = current_database()"
        ).fetchall()
        assert cut == [(True,)]
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            found = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bilevel-listen'"
                " AND datname = current_database() AND query LIKE 'LISTEN%'"
            ).fetchone()
            if found == (1,):
                break
            time.sleep(0.05)
        assert found == (1,)
    begin = time.monotonic()
    slot.start(submitted)
    assert next(heard).event == "started"
    assert time.monotonic() - begin < 4


def test_one_connection_listens_for_all_clients(client: httpx.Client, submitted: str, database_url: str) -> None:
    streams = [events(client, submitted) for _ in range(5)]
    for stream in streams:
        next(stream)
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bilevel-listen'"
            " AND datname = current_database()"
        ).fetchone()
    for stream in streams:
        stream.close()
    assert found == (1,)


@pytest.mark.parametrize("value", ["x", "-1", "", "9" * 30])
def test_an_id_that_is_none_of_ours_begins_at_the_beginning(
    client: httpx.Client, submitted: str, slot: Any, value: str
) -> None:
    finish(slot, submitted)
    assert next(events(client, submitted, **{"Last-Event-ID": value})).event == "queued"
