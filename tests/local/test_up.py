"""`python -m local up` for real: its processes are killed, stopped, refused, and it comes back."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from core.settings import child_environment
from local.home import Home, read_processes
from tests.packages import install

pytestmark = pytest.mark.service
IMPATIENT = {
    "BILEVEL_DEVICES": "cpu",
    "BILEVEL_THREADS": "1",
    "BILEVEL_LEASE_SECONDS": "3",
    "BILEVEL_HEARTBEAT_SECONDS": "0.3",
    "BILEVEL_ABANDON_SECONDS": "2",
    "BILEVEL_GRACE_SECONDS": "10",
    "BILEVEL_CHECKPOINT_SECONDS": "0.2",
    "BILEVEL_FLUSH_SECONDS": "0.1",
    "BILEVEL_REAP_SECONDS": "0.3",
    "BILEVEL_BACKOFF_SECONDS": "0.1",
    "DATABASE_URL": "",
    "BROKER_URL": "",
}


def quadratic(hyperiterations: int) -> dict[str, Any]:
    return {
        "problem": {"kind": "quadratic"},
        "algorithm": {"kind": "nested", "steps": 5, "hyperiterations": hyperiterations},
        "evaluation": {"every": 100},
    }


def command(home: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "local", "up", "--home", str(home), *options]


class Up:
    """A running `bilevel up`."""

    def __init__(self, home: Path) -> None:
        self.home, self.printed = Home(home), home.with_suffix(".out")
        with self.printed.open("w") as out:
            self.process = subprocess.Popen(
                command(home, "--port", "0"), env=child_environment(**IMPATIENT), stdout=out, stderr=subprocess.STDOUT
            )
        until(lambda: "ready;" in self.output() or self.process.poll() is not None)
        assert self.process.poll() is None, self.output()
        self.http = httpx.Client(base_url=read_processes(self.home)["url"], timeout=30)

    def output(self) -> str:
        return self.printed.read_text()

    def pids(self) -> dict[str, int]:
        return {entry["name"]: entry["pid"] for entry in read_processes(self.home)["processes"]}

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def is_ready(self) -> bool:
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:  # a connection to the process that was killed
            return False

    def submit(self, spec: dict[str, Any]) -> str:
        answer = self.http.post("/v1/experiments", json=spec)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def get(self, experiment: str) -> dict[str, Any]:
        content: dict[str, Any] = self.http.get(f"/v1/experiments/{experiment}").raise_for_status().json()
        return content

    def finish(self, experiment: str) -> dict[str, Any]:
        until(lambda: self.get(experiment)["status"] in ("succeeded", "failed", "cancelled"), 90)
        return self.get(experiment)

    def end(self, number: signal.Signals) -> int:
        self.http.close()
        self.process.send_signal(number)
        return self.process.wait(60)


def until(condition: Callable[[], object], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def running(home: Path) -> Iterator[Up]:
    up = Up(home)
    try:
        yield up
    finally:
        if up.process.poll() is None:
            up.end(signal.SIGTERM)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def test_an_experiment_survives_the_kill_of_everything(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running(home) as up:
        ready = up.http.get("/readyz")
        assert ready.status_code == 200, ready.text
        short, experiment = up.submit(quadratic(10)), up.submit(quadratic(2000))
        assert up.finish(short)["status"] == "succeeded"
        until(lambda: up.get(experiment)["progress"]["hyperiteration"] > 10)
        family = up.family()
        up.end(signal.SIGKILL)
    with running(home) as up:  # which first ends what is still there
        assert alive(family) == []
        assert up.get(short)["status"] == "succeeded"
        end = up.finish(experiment)
        assert end["status"] == "succeeded", end["error"]
        assert end["attempt"] > 1
        told = up.http.get(f"/v1/experiments/{experiment}/events").text
        assert "event: released" in told, "its worker could still give it back"
        assert "event: lost" not in told
        curves = up.http.get(f"/v1/experiments/{experiment}/curves", params={"series": "outer_objective"}).json()
        assert curves["series"]["outer_objective"]["step"][-1] >= 1999


def test_stopping_leaves_no_process_behind_and_gives_work_back(tmp_path: Path) -> None:
    with running(tmp_path / "home") as up:
        experiment = up.submit(quadratic(1_000_000))
        until(lambda: up.get(experiment)["status"] == "running")
        family = up.family()
        assert len(family) > 4  # Postgres and its own, Redis, API, worker and its child
        assert up.end(signal.SIGTERM) == 0
        assert alive(family) == []
        assert read_processes(up.home) == {}
        assert "nothing is left running" in up.output()
    with running(tmp_path / "home") as up:
        assert up.get(experiment)["status"] in ("queued", "running")
        up.http.post(f"/v1/experiments/{experiment}:cancel").raise_for_status()
        assert up.finish(experiment)["status"] == "cancelled"
        assert up.end(signal.SIGINT) == 0


def test_stopping_needs_no_terminal(tmp_path: Path) -> None:
    arguments = command(tmp_path / "home", "--port", "0")
    with subprocess.Popen(arguments, env=child_environment(**IMPATIENT), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any(line.startswith("ready;") for line in process.stdout)
        family = psutil.Process(process.pid).children(recursive=True)
        process.stdout.close()
        process.send_signal(signal.SIGHUP)
        process.wait(60)
    assert len(family) > 4
    assert alive(family) == []
    assert read_processes(Home(tmp_path / "home")) == {}


def test_parts_that_die_are_started_again(tmp_path: Path) -> None:
    with running(tmp_path / "home") as up:
        for name in ("api", "worker", "redis", "postgres"):
            before = up.pids()[name]
            psutil.Process(before).kill()
            until(lambda name=name, before=before: up.pids()[name] != before)  # type: ignore[misc]
            assert f"{name} ended (killed by SIGKILL); starting it again" in up.output()
        until(up.is_ready)
        assert up.finish(up.submit(quadratic(10)))["status"] == "succeeded"


def test_a_home_and_a_port_serve_one_service(tmp_path: Path) -> None:
    with running(tmp_path / "home") as up:
        url = read_processes(up.home)["url"]
        port = url.rpartition(":")[2]
        again = refused(command(tmp_path / "home", "--port", "0"))
        assert f"is in use by another `bilevel up` (process {up.process.pid}, {url})" in again
        assert f"cannot listen on 127.0.0.1 port {port}" in refused(command(tmp_path / "other", "--port", port))
        assert up.http.get("/healthz").status_code == 200
        assert not (tmp_path / "other/postgres").exists()


def test_a_home_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home/lock").mkdir(parents=True)
    said = refused(command(tmp_path / "home", "--port", "0"))
    assert said.startswith(f"Error: {tmp_path / 'home/lock'}: is a directory")


def test_a_package_that_is_left_out_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    install(packages, {"broken": "raise RuntimeError('no licence')"}, {"mine": "broken:Mine"})
    monkeypatch.setenv("PYTHONPATH", str(packages), prepend=os.pathsep)
    told = "The entry point mine = broken:Mine in bilevel.problems is left out: RuntimeError: no licence\n"
    for _ in range(2):  # each time of what its own API has said, though the log goes on
        with running(tmp_path / "home") as up:
            assert up.output().count(told) == 1
            assert up.output().index(told) < up.output().index("ready;")


def test_listening_for_others_needs_a_key(tmp_path: Path) -> None:
    said = refused(command(tmp_path / "home", "--host", "0.0.0.0"))
    assert "set BILEVEL_API_KEY to a secret, or listen on 127.0.0.1" in said
    assert not (tmp_path / "home").exists()


def test_settings_that_cannot_be_are_named(tmp_path: Path) -> None:
    said = refused(command(tmp_path / "home"), BILEVEL_SLOTS="-1")
    assert said == "Error: BILEVEL_SLOTS '-1': input should be greater than or equal to 0\n"
    said = refused(command(tmp_path / "home", "--port", "0"), BILEVEL_DEVICES="gpu")
    assert "worker cannot run" in said
    assert "BILEVEL_DEVICES: `gpu` is neither" in said


def test_a_database_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    url = f"postgresql://nobody@127.0.0.1:{port}/none"
    said = refused(command(tmp_path / "home", "--port", "0"), DATABASE_URL=url)
    assert "the database could not be migrated" in said
    assert "ERROR migrations: the database of DATABASE_URL does not answer: " in said
    assert len(said.splitlines()) == 2
    assert str(port) in said
    assert not (tmp_path / "home/postgres").exists()


def refused(arguments: list[str], **environment: str) -> str:
    done = subprocess.run(
        arguments,
        env=child_environment(**IMPATIENT | environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr
