"""The Python client against a real server."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

import bilevel_client
from bilevel_client import (
    Client,
    Conflict,
    Invalid,
    NotFound,
    ServerFault,
    ServiceError,
    StillRunning,
    Unauthorized,
    Unreachable,
)
from core.settings import Settings
from core.store import finishing
from core.store.blobs import Blobs

SPEC: dict[str, Any] = {"name": "toy", "problem": {"kind": "quadratic"}}
RESULT: dict[str, Any] = {"best": {"hyperiteration": 1}, "final": {"hyperiteration": 1}}


def test_submit_get_cancel(client: Client) -> None:
    record = client.submit(SPEC)
    assert record["status"] == "queued"
    assert client.get(record["id"]) == record
    assert client.cancel(record["id"])["status"] == "cancelled"
    assert client.wait(record["id"])["status"] == "cancelled"


def test_wait_returns_at_the_end(client: Client, slot: Any) -> None:
    experiment_id = client.submit(SPEC)["id"]

    def run() -> None:
        attempt = slot.start(experiment_id)
        time.sleep(0.2)
        slot.write(experiment_id, attempt, {"x": {0: 1.0}})
        time.sleep(0.2)
        slot.succeed(experiment_id, attempt, RESULT)

    thread = threading.Thread(target=run)
    thread.start()
    record = client.wait(experiment_id, timeout=20)
    thread.join()
    assert record["status"] == "succeeded"
    assert client.result(experiment_id) == RESULT


def test_waiting_has_an_end(client: Client) -> None:
    experiment_id = client.submit(SPEC)["id"]
    begin = time.monotonic()
    with pytest.raises(StillRunning, match="queued"):
        client.wait(experiment_id, timeout=0.3)
    assert time.monotonic() - begin < 5


def test_list_reads_every_page(client: Client) -> None:
    made = [client.submit({**SPEC, "labels": {"n": str(n % 2)}})["id"] for n in range(5)]
    assert [record["id"] for record in client.list()] == made[::-1]
    assert [record["id"] for record in client.list(limit=2)] == made[:-3:-1]
    assert [record["id"] for record in client.list(labels={"n": "1"})] == [made[3], made[1]]
    assert list(client.list(status="running")) == []
    assert len(list(client.list(status=["running", "queued"], name="TOY", kind="quadratic"))) == 5


def test_more_than_a_page(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [client.submit(SPEC)["id"] for _ in range(5)]
    send = client._transport.send

    def small(method: str, path: str, **options: Any) -> httpx.Response:
        if "page_size" in options.get("params", {}):
            options["params"]["page_size"] = 2
        return send(method, path, **options)

    monkeypatch.setattr(client._transport, "send", small)
    assert [record["id"] for record in client.list()] == made[::-1]


def test_find_by_the_beginning(client: Client) -> None:
    made = [client.submit(SPEC)["id"] for _ in range(20)]
    assert client.find(made[3][:12]) == made[3]
    assert client.find(made[3]) == made[3]
    with pytest.raises(NotFound):
        client.find("0" * 20)
    crowded = next(digit for digit in "0123456789abcdef" if sum(each.startswith(digit) for each in made) > 1)
    with pytest.raises(Invalid, match="Several"):
        client.find(crowded)
    with pytest.raises(Invalid, match="ID `xyz`: give the id of the experiment"):
        client.find("xyz")
    with pytest.raises(Invalid, match="is empty: give at least its first digits"):
        client.find("")


def test_curves_are_numbers(client: Client, slot: Any) -> None:
    experiment_id = client.submit(SPEC)["id"]
    first = slot.start(experiment_id)
    slot.write(experiment_id, first, {"x": {0: 1.0, 1: math.nan, 2: math.inf}})
    slot.release(experiment_id, first)
    slot.write(experiment_id, slot.start(experiment_id), {"x": {2: -math.inf}})
    curves = client.curves(experiment_id)
    assert curves.series["x"].step == [0, 1, 2]
    assert math.isnan(curves.series["x"].value[1])
    assert curves.series["x"].value[2] == -math.inf
    assert curves.series["x"].attempt == [1, 1, 2]
    assert client.curves(experiment_id, "nothing").series == {}
    assert client.curves(experiment_id, after=curves.next, max_points=4).next == curves.next


def test_events_to_the_end(client: Client, slot: Any) -> None:
    experiment_id = client.submit(SPEC)["id"]
    events = client.events(experiment_id)
    assert next(events).kind == "queued"
    attempt = slot.start(experiment_id)
    started = next(events)
    assert (started.kind, started.version) == ("started", 2)
    assert started.data["data"]["attempt"] == 1
    slot.succeed(experiment_id, attempt, RESULT)
    assert [event.kind for event in events] == ["succeeded"]
    assert [event.kind for event in client.events(experiment_id, after=2)] == ["succeeded"]
    assert list(client.events(experiment_id, after=3)) == []


def test_events_go_on_when_the_server_comes_back(
    settings: Settings, serve: Callable[[Settings], AbstractContextManager[str]], slot: Any
) -> None:
    with serve(settings) as address:
        client = Client(address, patience=20)
        experiment_id = client.submit(SPEC)["id"]
        events = client.events(experiment_id)
        assert next(events).kind == "queued"
    attempt = slot.start(experiment_id)
    slot.succeed(experiment_id, attempt, RESULT)
    with serve(settings) as again:
        client._transport._http.base_url = again
        assert [event.kind for event in events] == ["started", "succeeded"]
        client.close()


def test_events_of_an_experiment_that_waits(client: Client, slot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastapi.routing._PING_INTERVAL", 0.05)
    experiment_id = client.submit(SPEC)["id"]
    events = client.events(experiment_id)
    assert next(events).kind == "queued"
    later = threading.Timer(0.5, lambda: slot.succeed(experiment_id, slot.start(experiment_id), RESULT))
    later.start()
    assert [event.kind for event in events][-1] == "succeeded"
    later.join()


class Cut(httpx.BaseTransport):
    """Streams of events that say nothing for a while and break off, or are refused, before they are the real ones."""

    def __init__(self, plan: list[str], real: httpx.BaseTransport) -> None:
        self.plan, self.real = plan, real

    def close(self) -> None:
        self.real.close()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not self.plan or not request.url.path.endswith("/events"):
            return self.real.handle_request(request)
        if (step := self.plan.pop(0)).isdigit():
            return httpx.Response(int(step), json={"detail": "later", "code": "x"}, request=request)
        return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=self.quiet(request))

    def quiet(self, request: httpx.Request) -> Iterator[bytes]:
        time.sleep(1.2)
        yield b": ping\n\n"
        raise httpx.ReadError("cut", request=request)


@pytest.mark.parametrize("plan", [["503"], ["quiet"], ["quiet", "503", "quiet"]])
def test_events_go_on_after_streams_that_were_quiet_or_refused(address: str, slot: Any, plan: list[str]) -> None:
    with Client(address, patience=1) as client:
        experiment_id = client.submit(SPEC)["id"]
        slot.succeed(experiment_id, slot.start(experiment_id), RESULT)
        real = client._transport._http._transport
        client._transport._http._transport, client._transport._http._mounts = Cut(plan, real), {}
        assert [event.kind for event in client.events(experiment_id)] == ["queued", "started", "succeeded"]
        client._transport._http._transport = Cut(["404"], real)
        with pytest.raises(NotFound):
            list(client.events(experiment_id))


def test_a_service_that_is_elsewhere() -> None:
    def moved(request: httpx.Request) -> httpx.Response:
        return httpx.Response(301, headers={"Location": str(request.url.copy_with(scheme="https"))})

    with Client("http://here.example/bilevel") as client:
        client._transport._http._transport, client._transport._http._mounts = httpx.MockTransport(moved), {}
        with pytest.raises(ServiceError, match=r"is at https://here\.example/bilevel: give that address"):
            client.submit(SPEC)


def test_artifacts(client: Client, slot: Any, storage_dir: Path, tmp_path: Path) -> None:
    experiment_id = client.submit(SPEC)["id"]
    artifact = finishing.StoredArtifact("application/octet-stream", Blobs(storage_dir).put(b"tensors"))
    slot.succeed(experiment_id, slot.start(experiment_id), RESULT, **{"a.safetensors": artifact})
    assert [each["name"] for each in client.artifacts(experiment_id)] == ["a.safetensors"]
    assert client.artifact(experiment_id, "a.safetensors", to=tmp_path / "a") == b"tensors"
    assert (tmp_path / "a").read_bytes() == b"tensors"
    with pytest.raises(NotFound, match=r"`a\.safetensors`"):
        client.artifact(experiment_id, "b")


def test_the_catalogue(client: Client) -> None:
    assert {entry["kind"] for entry in client.catalog()["kinds"]["problem"]} >= {"quadratic", "hyper_cleaning"}


def test_refusals_have_types(client: Client, slot: Any) -> None:
    with pytest.raises(Invalid) as invalid:
        client.submit({"problem": {"kind": "quadratic", "damp": 1}})
    assert invalid.value.code == "invalid"
    assert invalid.value.status == 422
    assert invalid.value.errors[0]["pointer"] == "/problem/damp"
    with pytest.raises(NotFound):
        client.get("6f0c1f6e-0000-4000-8000-000000000000")
    experiment_id = client.submit(SPEC)["id"]
    with pytest.raises(Conflict) as conflict:
        client.result(experiment_id)
    assert conflict.value.code == "not_finished"
    slot.succeed(experiment_id, slot.start(experiment_id), RESULT)
    with pytest.raises(Conflict):
        client.cancel(experiment_id)


def test_the_key(settings: Settings, serve: Callable[[Settings], AbstractContextManager[str]]) -> None:
    with serve(settings.model_copy(update={"api_key": SecretStr("secret")})) as address:
        with Client(address) as stranger, pytest.raises(Unauthorized, match="Bearer"):
            stranger.submit(SPEC)
        with Client(address, "secret") as friend:
            assert friend.submit(SPEC)["status"] == "queued"


def test_a_service_that_is_not_there() -> None:
    with Client("http://127.0.0.1:1", patience=0.3) as client, pytest.raises(Unreachable, match="bilevel up"):
        client.get("x")


class Shaky(httpx.BaseTransport):
    """Fails some requests before or after they have reached the service."""

    def __init__(self, plan: list[str]) -> None:
        self.plan = plan
        self.real = httpx.HTTPTransport()
        self.sent = 0

    def close(self) -> None:
        self.real.close()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent += 1
        step = self.plan.pop(0) if self.plan else "well"
        if step == "refused":
            raise httpx.ConnectError("refused", request=request)
        if step.isdigit():
            return httpx.Response(int(step), json={"detail": "later", "code": "x"}, request=request)
        answer = self.real.handle_request(request)
        if step == "lost":
            answer.read()
            raise httpx.ReadError("the answer is lost", request=request)
        return answer


@pytest.mark.parametrize("plan", [["refused"], ["503", "429"], ["lost"], ["lost", "refused", "lost"]])
def test_a_submission_is_repeated_and_yet_one(client: Client, engine: Engine, plan: list[str]) -> None:
    shaky = Shaky(list(plan))
    client._transport._http._transport = shaky
    client._transport._http._mounts = {}
    record = client.submit(SPEC)
    assert record["status"] == "queued"
    assert shaky.sent == len(plan) + 1
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM experiments")).scalar_one() == 1


@pytest.mark.parametrize(("status", "kind"), [(422, Invalid), (500, ServerFault), (404, NotFound), (400, Invalid)])
def test_answers_that_repeating_would_not_change_are_not_repeated(
    client: Client, status: int, kind: type[ServiceError]
) -> None:
    shaky = Shaky([str(status)])
    client._transport._http._transport = shaky
    client._transport._http._mounts = {}
    with pytest.raises(kind, match="later"):
        client.submit(SPEC)
    assert shaky.sent == 1


def test_another_service_at_the_address(client: Client) -> None:
    with pytest.raises(ServiceError, match="is this the address"):
        client._transport.json("GET", "/docs")


def test_names_of_the_package() -> None:
    for name in bilevel_client.__all__:
        assert getattr(bilevel_client, name).__name__ == name
    with pytest.raises(AttributeError):
        bilevel_client.nothing  # noqa: B018
