"""The embedded Postgres and Redis, for real."""

import importlib.util
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
import redis as redis_client

from core.settings import child_environment
from local import postgres, redis
from local.home import Home, Refused
from local.supervisor import Supervisor

pytestmark = pytest.mark.service


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make()
    return home


@contextmanager
def running_postgres(home: Home) -> Iterator[str]:
    supervisor = Supervisor(home, "", lambda line: None)
    binaries = postgres.choose(home)
    home.make_sockets(postgres.owner(home))
    postgres.prepare(home, binaries, child_environment(), print)
    try:
        supervisor.start(postgres.service(home, binaries, child_environment()))
        yield postgres.url(home)
    finally:
        supervisor.stop()


@contextmanager
def running_redis(home: Home) -> Iterator[redis_client.Redis]:
    supervisor = Supervisor(home, "", lambda line: None)
    home.make_sockets(postgres.owner(home))
    supervisor.start(redis.service(home, child_environment()))
    try:
        with redis_client.Redis(unix_socket_path=redis.url(home).removeprefix("redis+socket://")) as client:
            yield client
    finally:
        supervisor.stop()


def postmaster(home: Home) -> psutil.Process:
    return psutil.Process(int((home.postgres / "postmaster.pid").read_text().split()[0]))


def test_postgres_keeps_its_data_through_a_kill(home: Home) -> None:
    (home.path / "postgres.new").mkdir()
    (home.path / "postgres.new/half").touch()  # of a first start that was killed
    with running_postgres(home) as url:
        assert not (home.path / "postgres.new").exists()
        with psycopg.connect(url) as connection:
            connection.execute("create table kept as select 'ÄÖ' as word")
        server = postmaster(home)
        server.kill()
        server.wait(10)
    assert (home.postgres / "postmaster.pid").exists()
    with running_postgres(home) as url, psycopg.connect(url) as connection:
        row = connection.execute("select lower(word), current_setting('listen_addresses') from kept").fetchone()
        assert row == ("äö", "")


def test_a_server_that_still_runs_is_ended_first(home: Home) -> None:
    with running_postgres(home):
        first = postmaster(home)
        with running_postgres(home) as url, psycopg.connect(url):
            assert not first.is_running() or first.status() == psutil.STATUS_ZOMBIE


def test_a_file_that_names_another_process_is_removed(home: Home) -> None:
    with running_postgres(home):
        pass
    (home.postgres / "postmaster.pid").write_text(f"{os.getpid()}\n{home.postgres}\n")
    with running_postgres(home) as url, psycopg.connect(url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_others_cannot_reach_postgres(home: Home) -> None:
    with running_postgres(home):
        pass
    assert stat.S_IMODE(home.sockets.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.postgres.stat().st_mode) == 0o700


def test_data_of_an_unknown_version_are_refused(home: Home) -> None:
    home.postgres.mkdir()
    (home.postgres / "PG_VERSION").write_text("9\n")
    with pytest.raises(Refused, match=r"made by Postgres 9, but \[.*18\] are installed"):
        postgres.choose(home)


def test_without_the_wheel_the_remedies_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Refused, match=r"pip install 'bilevel\[local\]'`, or set DATABASE_URL"):
        postgres.installed()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Refused, match=r"`redis-server` or `valkey-server` on PATH .* or set BROKER_URL"):
        redis.program()


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_without_the_wheel_path_is_searched(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).touch(mode=0o755)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert redis.program() == tmp_path / name


def test_redis_needs_no_disk(home: Home) -> None:
    with running_redis(home) as client:
        client.set("hint", "1")
    assert list(home.redis.iterdir()) == []
    with running_redis(home) as client:
        assert client.get("hint") is None
        assert client.config_get("appendonly") == {"appendonly": "no"}
        assert client.config_get("port") == {"port": "0"}
        assert stat.S_IMODE(Path(redis.url(home).removeprefix("redis+socket://")).stat().st_mode) == 0o700


def test_folders_that_are_opened_for_postgres_are_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    said: list[str] = []
    postgres.let_through(closed / "postgres", said.append)
    assert closed.stat().st_mode & 0o777 == 0o701
    assert any(line.endswith(f"may now pass (not list) {closed}") for line in said)
    said.clear()
    postgres.let_through(closed / "postgres", said.append)
    assert said == []
