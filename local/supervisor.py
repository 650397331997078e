"""Keeps services running: starts them in order, starts again what dies, stops all of them."""

import signal
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple

import psutil

from local.home import Home, Refused, read_processes, write_processes
from local.processes import Identity, Service, find, identify, spawn, stop, tail

QUICK = 10.0
"""A service that lived for less than these seconds has failed to start."""
ATTEMPTS = 5
"""Failed starts in a row after which we give up."""
FIRST_DELAY = 0.5
"""Seconds before the first new start; doubles with each further failure in a row, up to `LONGEST_DELAY`."""
LONGEST_DELAY = 8.0
POLL = 0.1
"""Seconds between looks at the processes."""


class Running(NamedTuple):
    """A service and its present process."""

    service: Service
    process: subprocess.Popen[bytes]
    identity: Identity
    started: float
    failures: int = 0
    """Failed starts in a row before this one."""


class Supervisor:
    """Owns the processes of one home."""

    def __init__(self, home: Home, url: str, say: Callable[[str], None]) -> None:
        self.home, self.url, self.say = home, url, say
        self.running: dict[str, Running] = {}
        self.waiting: dict[str, float] = {}  # name -> when to start it again
        self.signals = 0

    def listen(self) -> None:
        """From now on SIGINT, SIGTERM and SIGHUP ask us to stop; a second one to hurry."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        self.signals += 1

    @property
    def stopping(self) -> bool:
        """Whether we were asked to stop."""
        return self.signals > 0

    def start(self, service: Service, *, seconds: float = 60.0) -> None:
        """Starts a service and waits until it serves.

        Raises:
            Refused: it ended, or does not serve in time; with the end of its log.
        """
        self._spawn(service)
        deadline = time.monotonic() + seconds
        while not self.stopping and not service.ready():
            if self.running[service.name].process.poll() is not None or time.monotonic() > deadline:
                raise Refused(f"{service.name} does not start; {service.log} ends with:\n{tail(service.log)}")
            time.sleep(POLL)

    def _spawn(self, service: Service, failures: int = 0) -> None:
        process = spawn(service)
        self.running[service.name] = Running(service, process, identify(process.pid), time.monotonic(), failures)
        self._write_down()

    def _write_down(self) -> None:
        entries = [
            {"name": name, "signal": int(one.service.stop_signal), **one.identity._asdict()}
            for name, one in self.running.items()
        ]
        content = {"supervisor": psutil.Process().pid, "url": self.url, "processes": entries}
        try:
            write_processes(self.home, content)
        except OSError as error:  # only the next start reads it, to end what we could not
            self.say(f"{self.home.processes} could not be written ({error.strerror}); going on")

    def watch(self) -> None:
        """Starts again what dies, until we are asked to stop.

        Raises:
            Refused: a service died too often in a row, or says that it cannot run.
        """
        while not self.stopping:
            for name, one in list(self.running.items()):
                if one.process.poll() is not None:
                    self._revive(name, one)
            time.sleep(POLL)

    def _revive(self, name: str, one: Running) -> None:
        now = time.monotonic()
        if name not in self.waiting:
            failures = one.failures + 1 if now - one.started < QUICK else 1
            if one.process.returncode == one.service.hopeless:
                raise Refused(f"{name} cannot run; {one.service.log} ends with:\n{tail(one.service.log)}")
            if failures > ATTEMPTS:
                raise Refused(f"{name} keeps dying; {one.service.log} ends with:\n{tail(one.service.log)}")
            self.running[name] = one._replace(failures=failures)
            self.waiting[name] = now + min(FIRST_DELAY * 2 ** (failures - 1), LONGEST_DELAY)
            self.say(f"{name} ended ({_how(one.process.returncode)}); starting it again")
        elif now >= self.waiting[name]:
            del self.waiting[name]
            self._spawn(one.service, one.failures)

    def stop(self) -> None:
        """Ends every service, the last started first."""
        for _, one in reversed(self.running.items()):
            if one.process.poll() is None:
                process = psutil.Process(one.process.pid)
                stop(process, one.service.stop_signal, one.service.grace, hurry=lambda: self.signals > 1)
                one.process.wait()
        self.home.processes.unlink(missing_ok=True)


def _how(returncode: int) -> str:
    return f"exit code {returncode}" if returncode >= 0 else f"killed by {signal.Signals(-returncode).name}"


def reclaim(home: Home, say: Callable[[str], None], *, grace: float) -> None:
    """Ends what a killed supervisor left running, the last started first."""
    for entry in reversed(read_processes(home).get("processes", [])):
        process = find(Identity(entry["pid"], entry["created"]))
        if process is not None:
            say(f"ending {entry['name']} (process {entry['pid']}), left by a supervisor that was killed")
            stop(process, signal.Signals(entry["signal"]), grace, hurry=lambda: False)
    home.processes.unlink(missing_ok=True)
