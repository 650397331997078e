"""The application on a real Postgres, served by uvicorn in a thread."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
import uvicorn
from sqlalchemy import Engine

import migrations
from api.main import create_app
from core.settings import Settings
from core.store import claiming, finishing, points
from core.store.engine import transaction

QUADRATIC = {"problem": {"kind": "quadratic"}, "algorithm": {"hyperiterations": 100}}


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """A real server at a free port of this machine; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(create_app(settings), log_level="warning", timeout_graceful_shutdown=1, ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture
def serve() -> Callable[[Settings], AbstractContextManager[str]]:
    """Serves with given settings; to be used with `with`."""
    return serving


@pytest.fixture
def address(settings: Settings) -> Iterator[str]:
    """Address of a real server."""
    with serving(settings) as address:
        yield address


@pytest.fixture(scope="module")
def refusing(postgres: str, redis_socket: Path, tmp_path_factory: Any) -> Iterator[httpx.Client]:
    """A client of a server that many tests of a module share, since they store nothing."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    urls = {
        "DATABASE_URL": urlsplit(postgres)._replace(path=f"/{name}").geturl(),
        "BROKER_URL": f"redis+socket://{redis_socket}",
    }
    migrations.upgrade(urls["DATABASE_URL"])
    folders = {"storage_dir": tmp_path_factory.mktemp("storage"), "data_dir": tmp_path_factory.mktemp("data")}
    with (
        serving(Settings.model_validate({**urls, **folders})) as address,
        httpx.Client(base_url=address, timeout=20) as client,
    ):
        yield client
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    """A client of the real server."""
    with httpx.Client(base_url=address, timeout=20) as client:
        yield client


class Slot:
    """Plays the worker's part by the store's own functions, one step at a time."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def start(self, experiment_id: str) -> int:
        """Claims the experiment, which has to be the only one queued; returns the attempt."""
        with transaction(self.engine) as session:
            claim = claiming.claim(session, slot="test", device="cpu", lease_seconds=60)
        assert claim is not None
        assert str(claim.experiment_id) == experiment_id
        return claim.attempt

    def write(self, experiment_id: str, attempt: int, series: Mapping[str, Mapping[int, float]]) -> None:
        """Writes a batch of points by series and step."""
        chunks = {name: points.Chunk(list(values), list(values.values())) for name, values in series.items()}
        with transaction(self.engine) as session:
            points.write(session, UUID(experiment_id), attempt, points.Batch(chunks, ()))

    def succeed(self, experiment_id: str, attempt: int, result: Mapping[str, Any], **artifacts: Any) -> None:
        """Ends with a result."""
        with transaction(self.engine) as session:
            assert finishing.succeed(session, UUID(experiment_id), attempt, result=result, artifacts=artifacts)

    def fail(self, experiment_id: str, attempt: int, failure: finishing.Failure) -> None:
        """Ends with an error."""
        with transaction(self.engine) as session:
            assert finishing.fail(session, UUID(experiment_id), attempt, failure)

    def cancel(self, experiment_id: str, attempt: int) -> None:
        """Ends as it was asked to."""
        with transaction(self.engine) as session:
            assert finishing.cancel(session, UUID(experiment_id), attempt)

    def release(self, experiment_id: str, attempt: int) -> None:
        """Gives the experiment back to the queue."""
        with transaction(self.engine) as session:
            assert finishing.release(session, UUID(experiment_id), attempt)


@pytest.fixture
def slot(engine: Engine) -> Slot:
    """A slot to play."""
    return Slot(engine)


@pytest.fixture
def submitted(client: httpx.Client) -> str:
    """Id of a queued experiment."""
    answer = client.post("/v1/experiments", json=QUADRATIC)
    assert answer.status_code == 202
    return str(answer.json()["id"])
