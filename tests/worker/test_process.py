"""A child process, as its slot sees it."""

import operator
import os
import signal
import subprocess
import sys
import time
from multiprocessing import forkserver
from typing import Any

from worker import process
from worker.process import Child

WAITING = operator.methodcaller("recv_bytes")
"""In the place of an order: a child that does nothing until its pipe is closed."""


def until_it_waits(child: Child) -> None:
    """Until the child proper runs; its first steps are the fork server's."""
    assert not child.wait(0.5)


def test_a_child_whose_fork_server_died_has_ended_within_a_second_or_so(monkeypatch: Any) -> None:
    monkeypatch.setattr(process, "enter", operator.call)
    child = Child(WAITING)
    try:
        until_it_waits(child)
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
        began = time.monotonic()
        while not child.wait(0.2):
            assert time.monotonic() - began < 5.0
        assert time.monotonic() - began < 3.0
        assert child.report is None
    finally:
        child.close()


def test_children_do_not_look_at_what_is_preloaded_when_they_collect_garbage() -> None:
    code = "import gc, worker.preload; print(gc.get_freeze_count(), sum(map(len, map(gc.get_objects, range(3)))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    frozen, looked_at = map(int, done.stdout.split())
    assert frozen > 100_000 > looked_at
