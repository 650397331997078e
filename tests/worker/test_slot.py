"""What a slot writes down when something fails that is no fault of the experiment, and how it goes on."""

import threading
from typing import Any

import pytest

from core.status import Status
from core.store.finishing import Failure
from worker import slot
from worker.order import Report

pytestmark = pytest.mark.service
BACKOFF_SECONDS = 7.0


class Stopping(threading.Event):
    """An event that nobody waits for: how long it would have been is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return False


class Succeeding:
    """In the place of a child."""

    report = Report("succeeded", {"result": {"final": {"hyperiteration": 1}}, "artifacts": {}})
    occupied = 0

    def wait(self, seconds: float) -> bool:
        return True

    def describe_end(self) -> str:
        return "exit status 0"

    def close(self) -> None:
        pass


@pytest.fixture
def stopping() -> Stopping:
    return Stopping()


@pytest.fixture
def place(service, stopping) -> slot.Slot:
    settings = service.settings.model_copy(update={"backoff_seconds": BACKOFF_SECONDS})
    return slot.Slot("test/0", "cpu", 1, service.engine, settings, stopping, 1 << 30)


def test_what_a_slot_does_not_expect_is_written_down_at_once(service, spec, place, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(slot, "Child", broken)
    experiment_id = service.submit(spec())
    assert place.drain() == 1
    now = service.story(experiment_id)
    assert (now.status, now.outcomes) == (Status.QUEUED, ["lost"])
    expected = Failure("infrastructure", "system", "RecursionError: too deep").to_json(1)
    assert now.attempts[0].error == expected


def test_a_system_that_fails_is_given_time(service, spec, place, stopping, monkeypatch) -> None:
    works = iter([False, False, True, False])

    def child(*_: object) -> Any:
        if next(works):
            return Succeeding()
        raise ValueError("no")

    monkeypatch.setattr(slot, "Child", child)
    experiments = [service.submit(spec()) for _ in range(4)]
    assert place.drain() == 4
    outcomes = [service.story(each).outcomes for each in experiments]
    assert outcomes == [["lost"], ["lost"], ["succeeded"], ["lost"]]
    first = slot.REST * BACKOFF_SECONDS
    assert stopping.waits == [first, 2 * first, first]


def test_a_system_that_cannot_start_children_is_given_time(service, spec, place, stopping, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(slot, "Child", full)
    experiment_id = service.submit(spec())
    assert place.drain() == 1
    assert service.story(experiment_id).attempts[0].error["code"] == "system"
    assert stopping.waits == [slot.REST * BACKOFF_SECONDS]


def test_an_end_that_the_database_refuses_is_written_down_as_lost(service, spec, place, monkeypatch) -> None:
    class Refused(Succeeding):
        report = Report("succeeded", {"result": {"final": {"hyperiteration": 1}, "x": "\0"}, "artifacts": {}})

    monkeypatch.setattr(slot, "Child", lambda order: Refused())
    experiment_id = service.submit(spec())
    assert place.drain() == 1
    now = service.story(experiment_id)
    assert now.outcomes == ["lost"]
    assert now.attempts[0].error["code"] == "system"
