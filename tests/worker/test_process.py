"""A child process, as its slot sees it."""

import operator
import os
import signal
import threading
import time
from multiprocessing import forkserver
from typing import Any

import pytest

from core.status import Status
from core.store.finishing import Failure
from worker import process, slot
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


@pytest.mark.service
def test_what_a_slot_does_not_expect_is_written_down_at_once(service, spec, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(slot, "Child", broken)
    settings = service.settings.model_copy(update={"backoff_seconds": 60.0})
    place = slot.Slot("test/0", "cpu", 1, service.engine, settings, threading.Event(), 1 << 30)
    experiment_id = service.submit(spec())
    assert place.drain() == 1
    now = service.story(experiment_id)
    assert (now.status, now.outcomes) == (Status.QUEUED, ["lost"])
    expected = Failure("infrastructure", "system", "RecursionError: too deep").to_json(1)
    assert now.attempts[0].error == expected
