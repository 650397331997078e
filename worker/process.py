"""A child process from the fork server, as its slot sees it."""

import contextlib
import multiprocessing
import os
import signal
import time
from multiprocessing import forkserver
from multiprocessing.connection import wait

import psutil

from worker.entry import enter
from worker.order import Order, Report

PRELOADED = ["worker.preload"]
LAST_WORDS_SECONDS = 1.0
"""Wait for the report of a child that counts as ended."""


def start_fork_server() -> None:
    """Starts the fork server, which loads torch while the worker goes on; the environment has to be ready for it."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()


class Child:
    """One child process, from its start to its end."""

    def __init__(self, order: Order) -> None:
        context = multiprocessing.get_context("forkserver")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=enter, args=(order, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.started_at = time.monotonic()
        self.report: Report | None = None
        self._pipe_open = True
        self.occupied = 0
        """Bytes of main memory, when last looked at."""

    @property
    def pid(self) -> int:
        """Its number."""
        assert self._process.pid is not None
        return self._process.pid

    def wait(self, seconds: float) -> bool:
        """Waits for the child's report or end, at most so long; returns whether it has ended."""
        ready = wait([self._process.sentinel, *([self._pipe] if self._pipe_open else [])], seconds)
        if self._pipe in ready:
            self._receive()
        if self._process.sentinel not in ready:
            return False
        # Its pipe may be open all the same: it is what tells of the end of a child whose fork server died.
        while self._pipe_open and wait([self._pipe], LAST_WORDS_SECONDS):
            self._receive()
        return True

    def ask_to_stop(self) -> None:
        """Asks it to write a checkpoint and stop; may be asked again."""
        self._signal(signal.SIGTERM, group=False)

    def kill(self) -> None:
        """Kills it and what it started, at once."""
        self._signal(signal.SIGKILL, group=True)

    def memory(self) -> int:
        """Main memory that it occupies, in bytes; 0 if it has ended."""
        try:
            self.occupied = int(psutil.Process(self.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            return 0
        return self.occupied

    def seconds(self) -> float:
        """Since its start."""
        return time.monotonic() - self.started_at

    def describe_end(self) -> str:
        """How the process ended, for a message."""
        self._process.join(0.0)
        code = self._process.exitcode
        if code is not None and code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"exit status {code}"

    def close(self) -> None:
        """Lets go of the child; kills it if it has not ended."""
        self.kill()
        self._pipe.close()
        self._process.join()
        self._process.close()

    def _receive(self) -> None:
        try:
            self.report = Report.decode(self._pipe.recv_bytes())
        except (EOFError, OSError):
            self._pipe_open = False

    def _signal(self, number: signal.Signals, *, group: bool) -> None:
        if wait([self._process.sentinel], 0.0):
            return  # it has ended, and its number may be somebody else's by now
        with contextlib.suppress(ProcessLookupError):  # it has ended since
            # Until its first step it is in the fork server's group.
            if group and os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)
