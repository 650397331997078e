"""Every way to end an attempt: what becomes of the row, the attempt, the lease, and the second who tries."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product

import pytest
from sqlalchemy import delete, func, insert, update
from sqlalchemy.exc import IntegrityError

from core.status import SUCCESSORS, Status
from core.store.blobs import Blob
from core.store.cancelling import request_cancel
from core.store.changes import change, in_status
from core.store.finishing import Budget, Failure, StoredArtifact, cancel, fail, lose, release, succeed
from core.store.leases import renew
from core.store.reading import artifacts
from core.store.tables import AttemptRow, ExperimentRow

BUDGET = Budget(attempts=3, backoff_seconds=8.0)
DIED = Failure("infrastructure", "child_died", "The child process ended: killed by SIGKILL.")
WRONG = Failure("user", "diverged", "The hypergradient is not finite.", {"hyperiteration": 7})

WAYS = {
    "succeed": partial(succeed, hyperiteration=100, result={"best": 1}, artifacts={}),
    "fail": partial(fail, failure=WRONG),
    "cancel": cancel,
    "release": release,
    "lose": partial(lose, failure=DIED, budget=BUDGET),
}


def test_success(store, claimed):
    experiment_id = claimed.experiment_id
    artifact = StoredArtifact("application/octet-stream", Blob("ab" * 32, 12))
    status = store.do(
        succeed,
        experiment_id,
        1,
        hyperiteration=90,
        result={"best": {"hyperiteration": 3}},
        artifacts={"outer.safetensors": artifact},
    )
    row = store.row(experiment_id)
    assert status is Status.SUCCEEDED
    assert (row.status, row.result, row.error) == ("succeeded", {"best": {"hyperiteration": 3}}, None)
    assert row.hyperiteration == 90 < row.hyperiterations
    assert row.finished_at is not None
    assert [a.outcome for a in store.attempts(experiment_id)] == ["succeeded"]
    assert store.kinds(experiment_id)[-1] == "succeeded"
    assert store.leases() == 0
    (stored,) = store.do(artifacts, experiment_id)
    assert (stored.name, stored.attempt, stored.sha256, stored.size) == ("outer.safetensors", 1, "ab" * 32, 12)


def test_failure(store, claimed):
    assert store.do(fail, claimed.experiment_id, 1, WRONG) is Status.FAILED
    row = store.row(claimed.experiment_id)
    expected = {
        "category": "user",
        "code": "diverged",
        "message": "The hypergradient is not finite.",
        "attempt": 1,
        "hyperiteration": 7,
    }
    assert row.error == expected
    assert store.attempts(claimed.experiment_id)[0].error == expected
    assert store.events(claimed.experiment_id)[-1].data == {"attempt": 1, "error": expected}
    assert store.claim() is None


def test_release_is_not_charged_and_can_be_claimed_at_once(store, claimed):
    assert store.do(release, claimed.experiment_id, 1) is Status.QUEUED
    row = store.row(claimed.experiment_id)
    assert (row.status, row.losses, row.attempt) == ("queued", 0, 1)
    again = store.claim()
    assert (again.experiment_id, again.attempt) == (claimed.experiment_id, 2)
    assert [a.outcome for a in store.attempts(claimed.experiment_id)] == ["released", None]
    assert store.kinds(claimed.experiment_id) == ["queued", "started", "released", "started"]


def test_a_loss_waits_and_the_last_one_fails(store, claimed):
    experiment_id, waits = claimed.experiment_id, []
    for number in (1, 2):
        assert store.do(lose, experiment_id, number, DIED, BUDGET) is Status.QUEUED
        row = store.row(experiment_id)
        ended_at = store.attempts(experiment_id)[-1].ended_at
        waits.append((row.available_at - ended_at).total_seconds())
        assert store.claim() is None
        store.do(lambda session: session.execute(update(ExperimentRow).values(available_at=ExperimentRow.created_at)))
        assert store.claim().attempt == number + 1
    assert waits == pytest.approx([8.0, 16.0], abs=1.0)
    assert store.do(lose, experiment_id, 3, DIED, BUDGET) is Status.FAILED
    row = store.row(experiment_id)
    assert (row.losses, row.error["code"], row.error["category"]) == (3, "child_died", "infrastructure")
    assert [a.outcome for a in store.attempts(experiment_id)] == ["lost"] * 3
    assert store.kinds(experiment_id) == ["queued", "started", "lost", "started", "lost", "started", "failed"]


def test_backoff_is_bounded():
    assert Budget(100, 5.0).wait(99) == 600.0


@pytest.mark.parametrize("way", ["cancel", "release", "lose"])
def test_an_attempt_that_ends_while_cancelling_is_cancelled(store, claimed, way):
    assert store.do(request_cancel, claimed.experiment_id) is Status.CANCELLING
    assert store.do(WAYS[way], claimed.experiment_id, 1) is Status.CANCELLED
    assert store.kinds(claimed.experiment_id)[-2:] == ["cancelling", "cancelled"]
    assert store.leases() == 0


def test_a_run_that_ends_before_the_cancellation_reaches_it_keeps_its_result(store, claimed):
    store.do(request_cancel, claimed.experiment_id)
    assert store.do(WAYS["succeed"], claimed.experiment_id, 1) is Status.SUCCEEDED


def test_an_attempt_ends_once(store):
    for first, second in product(WAYS, WAYS):
        experiment_id = store.submit()
        assert store.claim().experiment_id == experiment_id
        if first == "cancel":
            store.do(request_cancel, experiment_id)
        assert store.do(WAYS[first], experiment_id, 1) is not None
        before = store.row(experiment_id)
        assert store.do(WAYS[second], experiment_id, 1) is None, (first, second)
        after = store.row(experiment_id)
        facts = ("version", "status", "result", "error")
        assert [getattr(after, fact) for fact in facts] == [getattr(before, fact) for fact in facts]
        store.do(lambda session: session.execute(delete(ExperimentRow)))


@pytest.mark.parametrize("way", WAYS)
def test_a_fenced_attempt_ends_nothing(store, claimed, way):
    store.do(release, claimed.experiment_id, 1)
    assert store.claim().attempt == 2
    assert store.do(WAYS[way], claimed.experiment_id, 1) is None
    assert store.do(renew, claimed.experiment_id, 1, lease_seconds=60.0) is None
    assert store.row(claimed.experiment_id).status == "running"
    assert store.leases() == 1


def test_many_end_one_attempt_at_the_same_time_and_one_does(store):
    for _ in range(10):
        store.submit()
        claimed = store.claim()
        ways = [WAYS["succeed"], WAYS["fail"], WAYS["lose"], WAYS["release"]]
        with ThreadPoolExecutor(4) as pool:
            ended = list(pool.map(lambda way, held=claimed: store.do(way, held.experiment_id, held.attempt), ways))
        assert sum(status is not None for status in ended) == 1
        store.do(lambda session: session.execute(delete(ExperimentRow)))


def test_the_database_itself_allows_one_running_attempt_and_one_success(store, claimed):
    second = {"experiment_id": claimed.experiment_id, "number": 2, "slot": "x", "device": "cpu"}
    with pytest.raises(IntegrityError, match="uq_attempts_one_running"):
        store.do(lambda session: session.execute(insert(AttemptRow).values(second)))
    store.do(WAYS["succeed"], claimed.experiment_id, 1)
    success = {**second, "outcome": "succeeded", "ended_at": func.now()}
    with pytest.raises(IntegrityError, match="uq_attempts_one_success"):
        store.do(lambda session: session.execute(insert(AttemptRow).values(success)))


def test_the_state_machine_is_kept_whatever_the_guard(store):
    for before, after in product(Status, Status):
        assert _change(store, before, after) == (after in SUCCESSORS[before]), (before, after)


def _change(store, before: Status, after: Status) -> bool:
    """Whether the database lets a row go from one state to the other."""
    experiment_id = store.submit()
    finished = {"finished_at": ExperimentRow.created_at}
    facts = {Status.SUCCEEDED: {"result": {}, **finished}, Status.FAILED: {"error": {}, **finished}}
    facts[Status.CANCELLED] = finished
    place = (
        update(ExperimentRow).where(ExperimentRow.id == experiment_id).values(status=before, **facts.get(before, {}))
    )
    store.do(lambda session: session.execute(place))
    clean = {"finished_at": None, "result": None, "error": None}
    columns = clean | dict(facts.get(after, {}))
    return store.do(change, experiment_id, in_status(*Status), status=after, **columns) is not None
