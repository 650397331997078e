"""Starting and stopping processes so that none is left behind."""

import contextlib
import ctypes
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

PR_SET_PDEATHSIG = 1
CLOCK_TOLERANCE = 2.0
"""Seconds by which two readings of a process's start may differ."""


class Service(NamedTuple):
    """A process to keep running."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    ready: Callable[[], bool] = lambda: True
    """Whether it serves yet; asked until it does."""
    stop_signal: signal.Signals = signal.SIGTERM
    """What makes it end in good order."""
    grace: float = 10.0
    """Seconds that it has for that before it is killed."""
    user: int | None = None
    """User under whom it runs, if not ours (only root can choose)."""
    folder: Path = Path("/")
    """Working folder."""
    descriptors: tuple[int, ...] = ()
    """Open files that it inherits."""
    stays: bool = False
    """Whether it is left running when we are killed, for others to end in good order; the next start ends it."""
    hopeless: int | None = None
    """Exit code with which it says that starting it again would not help."""


class Identity(NamedTuple):
    """Tells a process from a later one with the same number."""

    pid: int
    created: float


def identify(pid: int) -> Identity:
    """The identity of a process that is alive."""
    return Identity(pid, psutil.Process(pid).create_time())


def as_user(user: int | None) -> dict[str, Any]:
    """Arguments with which `subprocess` starts a process under another user and that user's group."""
    return {} if user is None else {"user": user, "group": pwd.getpwuid(user).pw_gid, "extra_groups": []}


def spawn(service: Service) -> subprocess.Popen[bytes]:
    """Starts the service in a session of its own; on Linux it is told to stop when we die, unless it `stays`."""
    follows = sys.platform == "linux" and not service.stays
    with service.log.open("ab") as log:
        return subprocess.Popen(
            service.command,
            env=dict(service.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=service.folder,
            start_new_session=True,
            pass_fds=service.descriptors,
            preexec_fn=_stop_with_parent(service.stop_signal) if follows else None,
            **as_user(service.user),
        )


def _stop_with_parent(stop_signal: signal.Signals) -> Callable[[], None]:
    libc, parent = ctypes.CDLL(None), os.getpid()

    def in_child() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(stop_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)

    return in_child


def find(identity: Identity) -> psutil.Process | None:
    """The process, if it is still alive and no other one has taken its number."""
    try:
        process = psutil.Process(identity.pid)
        same = abs(process.create_time() - identity.created) < CLOCK_TOLERANCE
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def stop(process: psutil.Process, stop_signal: signal.Signals, grace: float, *, hurry: Callable[[], bool]) -> None:
    """Ends a process and all its descendants: by the signal, and after `grace` seconds, or in a hurry, by SIGKILL."""
    try:
        descendants = process.children(recursive=True)
        process.send_signal(stop_signal)
    except psutil.NoSuchProcess:
        return
    _wait(process, grace, hurry)
    _kill([process])
    psutil.wait_procs(descendants, timeout=2)  # they may notice by themselves
    _kill(descendants)


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def _wait(process: psutil.Process, seconds: float, hurry: Callable[[], bool]) -> None:
    waited = 0.0
    while process.is_running() and waited < seconds and not hurry():
        psutil.wait_procs([process], timeout=0.2)
        waited += 0.2


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""
