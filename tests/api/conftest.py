"""Clients of a real server."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest

import migrations
from core.settings import Settings

QUADRATIC = {"problem": {"kind": "quadratic"}, "algorithm": {"hyperiterations": 100}}


@pytest.fixture(scope="module")
def refusing(
    postgres: str,
    redis_socket: Path,
    tmp_path_factory: pytest.TempPathFactory,
    serve: Callable[[Settings], AbstractContextManager[str]],
) -> Iterator[httpx.Client]:
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
        serve(Settings.model_validate({**urls, **folders})) as address,
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


@pytest.fixture
def submitted(client: httpx.Client) -> str:
    """Id of a queued experiment."""
    answer = client.post("/v1/experiments", json=QUADRATIC)
    assert answer.status_code == 202
    return str(answer.json()["id"])
