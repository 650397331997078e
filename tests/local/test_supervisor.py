import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from core.settings import child_environment
from local import supervisor as module
from local.home import Home, Refused, read_processes, write_processes
from local.processes import Service, find, identify, spawn
from local.supervisor import Supervisor, reclaim

FOREVER = "import time; time.sleep(60)"


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.make()
    return home


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(home: Home, said: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    monkeypatch.setattr(module, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(module, "POLL", 0.01)
    supervisor = Supervisor(home, "http://127.0.0.1:1", said.append)
    yield supervisor
    supervisor.stop()


def service(home: Home, script: str, name: str = "test", **fields: object) -> Service:
    made = Service(name, [sys.executable, "-c", script], child_environment(), home.log(name))
    return made._replace(**fields)


def test_start_waits_until_it_serves(
    supervisor: Supervisor, home: Home, tmp_path: Path, left_behind: Callable[[], set[psutil.Process]]
) -> None:
    flag = tmp_path / "flag"
    script = f"import pathlib, time; time.sleep(0.2); pathlib.Path({str(flag)!r}).touch(); time.sleep(60)"
    supervisor.start(service(home, script, ready=flag.exists))
    assert flag.exists()
    content = read_processes(home)
    assert content["url"] == "http://127.0.0.1:1"
    assert [entry["name"] for entry in content["processes"]] == ["test"]
    supervisor.stop()
    assert read_processes(home) == {}
    assert not left_behind()


def test_start_shows_the_log_of_what_does_not_start(supervisor: Supervisor, home: Home) -> None:
    with pytest.raises(Refused, match=r"(?s)test does not start; .*test\.log ends with:.*no such luck"):
        supervisor.start(service(home, "raise SystemExit('no such luck')", ready=lambda: False))


def test_start_does_not_wait_for_ever(supervisor: Supervisor, home: Home) -> None:
    with pytest.raises(Refused, match="test does not start"):
        supervisor.start(service(home, FOREVER, ready=lambda: False), seconds=0.1)


def test_what_dies_is_started_again(supervisor: Supervisor, home: Home, said: list[str]) -> None:
    supervisor.start(service(home, FOREVER))
    first = supervisor.running["test"].process
    first.kill()

    def ask_to_stop() -> None:
        until(lambda: supervisor.running["test"].process.pid != first.pid)
        supervisor.signals += 1

    threading.Thread(target=ask_to_stop).start()
    supervisor.watch()
    assert said == ["test ended (killed by SIGKILL); starting it again"]
    assert supervisor.running["test"].process.poll() is None
    assert read_processes(home)["processes"][0]["pid"] == supervisor.running["test"].process.pid


def test_a_record_that_cannot_be_written_ends_nothing(supervisor: Supervisor, home: Home, said: list[str]) -> None:
    supervisor.start(service(home, FOREVER))
    written = read_processes(home)
    home.processes.with_suffix(".new").mkdir()  # as on a full disk, no file can be made there
    supervisor.start(service(home, FOREVER, name="other"))
    assert supervisor.running["other"].process.poll() is None
    assert len(said) == 1
    assert said[0].startswith(f"{home.processes} could not be written")
    assert read_processes(home) == written


def test_what_keeps_dying_ends_everything(
    supervisor: Supervisor, home: Home, said: list[str], left_behind: Callable[[], set[psutil.Process]]
) -> None:
    supervisor.start(service(home, FOREVER, name="other"))
    supervisor.start(service(home, "print('broken'); raise SystemExit(3)"))
    with pytest.raises(Refused, match=r"(?s)test keeps dying; .*broken"):
        supervisor.watch()
    assert said == ["test ended (exit code 3); starting it again"] * module.ATTEMPTS
    assert supervisor.running["other"].process.poll() is None
    supervisor.stop()
    assert not left_behind()


def test_what_says_that_it_cannot_run_ends_everything_at_once(
    supervisor: Supervisor, home: Home, said: list[str]
) -> None:
    supervisor.start(service(home, "print('wrong setting'); raise SystemExit(2)", hopeless=2))
    with pytest.raises(Refused, match=r"(?s)test cannot run; .*wrong setting"):
        supervisor.watch()
    assert said == []


def test_signals_ask_to_stop_and_then_to_hurry(
    supervisor: Supervisor, home: Home, left_behind: Callable[[], set[psutil.Process]]
) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        supervisor.listen()
        ready = home.path / "ready"
        script = (
            "import pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
            f"pathlib.Path({str(ready)!r}).touch(); time.sleep(60)"
        )
        supervisor.start(service(home, script, ready=ready.exists, grace=60.0))
        signal.raise_signal(signal.SIGTERM)
        assert supervisor.stopping
        supervisor.watch()
        threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
        supervisor.stop()
        assert not left_behind()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_reclaim_ends_what_was_left_and_nothing_else(home: Home, said: list[str]) -> None:
    left, other = spawn(service(home, FOREVER)), spawn(service(home, FOREVER))
    entries = [
        {"name": "worker", "signal": int(signal.SIGTERM), **identify(left.pid)._asdict()},
        {"name": "api", "signal": int(signal.SIGTERM), "pid": other.pid, "created": 1.0},  # another process by now
        {"name": "redis", "signal": int(signal.SIGTERM), "pid": 2**22 + 1, "created": 1.0},
    ]
    write_processes(home, {"supervisor": 1, "url": "", "processes": entries})
    identity = identify(left.pid)
    reclaim(home, said.append, grace=10)
    assert find(identity) is None
    assert other.poll() is None
    assert len(said) == 1
    assert said[0].startswith(f"ending worker (process {left.pid})")
    assert read_processes(home) == {}
    other.kill()
    other.wait(10)
    left.wait(10)
