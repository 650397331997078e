import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from core.settings import child_environment
from local.processes import Identity, Service, find, identify, spawn, stop, tail

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""


def service(tmp_path: Path, script: str) -> Service:
    command = [sys.executable, "-c", script]
    return Service("test", command, child_environment(TOLD="yes"), tmp_path / "test.log")


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def patient() -> bool:
    return False


def test_spawn_gives_environment_folder_and_log(tmp_path: Path) -> None:
    script = "import os, sys; print(os.environ['TOLD'], os.getcwd()); print('oops', file=sys.stderr)"
    started = spawn(service(tmp_path, script))
    assert started.wait(20) == 0
    assert set(tail(tmp_path / "test.log").splitlines()) == {"yes /", "oops"}
    assert tail(tmp_path / "none.log") == ""


def test_stop_ends_descendants_in_other_sessions(tmp_path: Path) -> None:
    started = spawn(service(tmp_path, PARENT))
    until(lambda: tail(tmp_path / "test.log"))
    child = psutil.Process(int(tail(tmp_path / "test.log")))
    stop(psutil.Process(started.pid), signal.SIGTERM, 10, hurry=patient)
    started.wait(1)
    assert not psutil.pid_exists(started.pid)
    assert not child.is_running()


@pytest.mark.parametrize(("grace", "hurry"), [(0.3, False), (60.0, True)])
def test_stop_kills_what_does_not_listen(tmp_path: Path, grace: float, hurry: bool) -> None:
    started = spawn(service(tmp_path, STUBBORN))
    until(lambda: tail(tmp_path / "test.log") == "ready")
    process = psutil.Process(started.pid)
    stop(process, signal.SIGTERM, grace, hurry=lambda: hurry)
    started.wait(1)
    assert not process.is_running()


def test_stop_of_what_is_gone_does_nothing(tmp_path: Path) -> None:
    started = spawn(service(tmp_path, ""))
    process = psutil.Process(started.pid)
    started.wait(20)
    stop(process, signal.SIGTERM, 1, hurry=patient)


def test_find_tells_a_process_from_a_later_one() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        identity = identify(process.pid)
        found = find(identity)
        assert found is not None
        assert found.pid == process.pid
        assert find(Identity(process.pid, identity.created - 60)) is None
        process.kill()
    assert find(identity) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children")
def test_services_stop_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    script = f"""
import sys, time
from pathlib import Path
from core.settings import child_environment
from local.processes import Service, spawn
command = [sys.executable, "-c", "import time; time.sleep(60)"]
print(spawn(Service("x", command, child_environment(), Path({str(tmp_path / "x.log")!r}))).pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        child = psutil.Process(int(supervisor.stdout.readline()))
        supervisor.kill()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
