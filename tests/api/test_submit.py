"""Submitting: what is stored and answered, and that a repeated submission is one experiment."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from sqlalchemy import Engine, text, update

from core.settings import Settings
from core.spec import Experiment, Sweep, experiment
from core.store.tables import IdempotencyRow

Serve = Callable[[Settings], AbstractContextManager[str]]
SPEC = {"name": "toy", "labels": {"paper": "table-3"}, "problem": {"kind": "quadratic"}}


def count(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.execute(text("SELECT count(*) FROM experiments")).scalar_one()


def test_the_answer_is_the_experiment_and_where_it_is(client: httpx.Client, engine: Engine) -> None:
    answer = client.post("/v1/experiments", json=SPEC)

    assert answer.status_code == 202
    record = answer.json()
    place = f"/v1/experiments/{record['id']}"
    assert answer.headers["Location"] == place
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["ETag"] == '"1"'
    assert record["links"] == {
        "self": place,
        "curves": f"{place}/curves",
        "result": f"{place}/result",
        "events": f"{place}/events",
        "artifacts": f"{place}/artifacts",
        "cancel": f"{place}:cancel",
    }
    assert record["progress"] == {"hyperiteration": 0, "hyperiterations": 100, "fraction": 0.0, "eta_seconds": None}
    spec = Experiment.model_validate(SPEC)
    assert record["spec"] == spec.canonical()
    assert record["spec_sha256"] == spec.sha256()
    expected = {"name": "toy", "labels": {"paper": "table-3"}, "status": "queued", "attempt": 0, "error": None}
    assert {name: record[name] for name in expected} == expected
    assert record["started_at"] is None
    assert record["finished_at"] is None
    assert client.get(place).json() == record


def test_the_first_event_is_stored_with_the_row(client: httpx.Client, engine: Engine) -> None:
    experiment_id = client.post("/v1/experiments", json=SPEC).json()["id"]
    with engine.connect() as connection:
        events = connection.execute(text("SELECT CAST(experiment_id AS text), version, kind FROM events")).all()
    assert events == [(experiment_id, 1, "queued")]


def test_a_hint_is_sent_after_the_commit(client: httpx.Client, redis_socket: Path) -> None:
    client.post("/v1/experiments", json=SPEC)
    with redis.Redis(unix_socket_path=str(redis_socket)) as broker:
        deadline = time.monotonic() + 5
        while not broker.llen("bilevel") and time.monotonic() < deadline:
            time.sleep(0.01)
        assert broker.llen("bilevel") == 1


def test_without_a_broker_it_is_accepted_all_the_same(settings: Settings, engine: Engine, serve: Serve) -> None:
    lonely = settings.model_copy(
        update={"broker_url": Settings.model_validate({"BROKER_URL": "redis://127.0.0.1:1"}).broker_url}
    )
    with serve(lonely) as address, httpx.Client(base_url=address) as client:
        assert client.post("/v1/experiments", json=SPEC).status_code == 202
    assert count(engine) == 1


def test_the_same_key_and_body_is_the_same_experiment(client: httpx.Client, engine: Engine) -> None:
    key = {"Idempotency-Key": "once"}
    first = client.post("/v1/experiments", json=SPEC, headers=key)
    again = client.post("/v1/experiments", json=dict(reversed(SPEC.items())), headers=key)

    assert again.status_code == 202
    assert again.json() == first.json()
    assert again.headers["Location"] == first.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert count(engine) == 1


@pytest.mark.parametrize(("route", "body"), [("experiments", SPEC), ("sweeps", {"base": SPEC, "seeds": [1, 2]})])
def test_the_same_key_and_body_is_the_same_after_a_default_has_changed(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, route: str, body: dict[str, Any]
) -> None:
    key = {"Idempotency-Key": "once"}
    first = client.post(f"/v1/{route}", json=body, headers=key)
    before = Experiment.model_validate(SPEC).sha256()
    monkeypatch.setattr(experiment, "FIRST_DEFAULTS", {})  # as in a version with another default of `every`
    assert Experiment.model_validate(SPEC).sha256() != before
    again = client.post(f"/v1/{route}", json=body, headers=key)
    assert again.status_code == 202
    assert again.json() == first.json()


@pytest.mark.parametrize(("route", "body"), [("experiments", SPEC), ("sweeps", {"base": SPEC, "seeds": [1, 2]})])
def test_keys_of_older_versions_are_known(
    client: httpx.Client, engine: Engine, route: str, body: dict[str, Any]
) -> None:
    key = {"Idempotency-Key": "once"}
    first = client.post(f"/v1/{route}", json=body, headers=key)
    stored = {"experiments": Experiment, "sweeps": Sweep}[route].model_validate(body).sha256()
    with engine.begin() as connection:
        connection.execute(update(IdempotencyRow).values(body_sha256=bytes.fromhex(stored)))
    again = client.post(f"/v1/{route}", json=body, headers=key)
    assert again.json() == first.json()
    other = client.post(f"/v1/{route}", json=body | {"name": "other"}, headers=key)
    assert other.json()["code"] == "idempotency_conflict"


def test_the_order_of_a_grid_tells_two_bodies_apart(client: httpx.Client) -> None:
    grid = {"algorithm.steps": [1, 2], "problem.damping": [0.0, 1.0]}
    key = {"Idempotency-Key": "once"}
    assert client.post("/v1/sweeps", json={"base": SPEC, "grid": grid}, headers=key).status_code == 202
    turned = {"base": SPEC, "grid": dict(reversed(grid.items()))}
    assert client.post("/v1/sweeps", json=turned, headers=key).status_code == 422


def test_the_same_key_with_another_body_is_refused(client: httpx.Client, engine: Engine) -> None:
    key = {"Idempotency-Key": "once"}
    client.post("/v1/experiments", json=SPEC, headers=key)
    answer = client.post("/v1/experiments", json={**SPEC, "seed": 1}, headers=key)

    assert answer.status_code == 422
    assert answer.json()["code"] == "idempotency_conflict"
    assert count(engine) == 1


def test_without_a_key_every_submission_is_an_experiment(client: httpx.Client, engine: Engine) -> None:
    ids = {client.post("/v1/experiments", json=SPEC).json()["id"] for _ in range(3)}
    assert len(ids) == count(engine) == 3


def test_submissions_at_the_same_time_with_one_key_are_one_experiment(client: httpx.Client, engine: Engine) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: client.post("/v1/experiments", json=SPEC, headers={"Idempotency-Key": "k"}), range(16))
        )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert count(engine) == 1


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_has_a_length(client: httpx.Client, key: str) -> None:
    answer = client.post("/v1/experiments", json=SPEC, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == "Idempotency-Key"


@pytest.mark.parametrize(
    ("problem", "pointer"),
    [
        ({"kind": "hyper_cleaning", "dataset": {"kind": "mnist"}}, "/problem/dataset"),
        (
            {"kind": "learned_optimizer", "tasks": {"kind": "classification", "dataset": {"kind": "mnist"}}},
            "/problem/tasks/dataset",
        ),
    ],
    ids=["dataset", "tasks"],
)
def test_a_missing_data_set_is_refused_before_anything_is_stored(
    client: httpx.Client, engine: Engine, problem: dict[str, Any], pointer: str
) -> None:
    answer = client.post("/v1/experiments", json={"problem": problem})
    assert answer.status_code == 422
    refusal = answer.json()
    assert refusal["code"] == "data_missing"
    assert refusal["errors"][0]["pointer"] == pointer
    assert "bilevel data prepare mnist" in refusal["detail"]
    assert refusal["detail"].startswith(f"{pointer}: ")
    assert count(engine) == 0


@pytest.mark.parametrize(
    ("device", "waiting_for"), [("auto", "a free slot"), ("cuda", "a free slot with a CUDA device")]
)
def test_a_queued_experiment_says_what_it_waits_for(client: httpx.Client, device: str, waiting_for: str) -> None:
    record = client.post("/v1/experiments", json=SPEC | {"resources": {"device": device}}).json()
    assert record["waiting_for"] == waiting_for
    ended = client.post(record["links"]["cancel"]).json()
    assert ended["waiting_for"] is None


def test_a_database_without_room_is_named(client: httpx.Client, engine: Engine) -> None:
    refuse = "BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $${refuse}$$"))
        connection.execute(text("CREATE TRIGGER full_disk BEFORE INSERT ON experiments EXECUTE FUNCTION full_disk()"))
    try:
        answer = client.post("/v1/experiments", json=SPEC)
    finally:
        with engine.begin() as connection:
            connection.execute(text("DROP FUNCTION full_disk CASCADE"))
    assert answer.status_code == 503
    assert answer.json()["code"] == "database_unavailable"
    assert answer.json()["detail"].startswith("The database's disk is full")
    assert client.post("/v1/experiments", json=SPEC).status_code == 202
