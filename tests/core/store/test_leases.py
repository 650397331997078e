"""Heartbeats and the reaper: the database's clock decides, and one of two always comes first."""

import threading
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import func, select, update

from core.errors import DatabaseUnreachable
from core.status import Status
from core.store.cancelling import request_cancel
from core.store.clock import now
from core.store.engine import UNAVAILABLE, Session, make_engine, transaction
from core.store.finishing import Budget, release
from core.store.leases import renew
from core.store.points import Batch, Chunk, write
from core.store.reaping import Reaped, reap
from core.store.retrying import retrying
from core.store.tables import CurveChunkRow, ExperimentRow, LeaseRow

BUDGET = Budget(attempts=2, backoff_seconds=0.0)


def expire(store) -> None:
    """As if every lease had run out a second ago."""
    past = update(LeaseRow).values(lease_until=now() - timedelta(seconds=1))
    store.do(lambda session: session.execute(past))


def seconds_left(store) -> float:
    """Of the only lease, on the database's clock."""
    return store.do(lambda session: session.scalar(select(LeaseRow.lease_until - now()))).total_seconds()


def test_a_heartbeat_moves_the_lease_and_reads_the_wish_to_cancel(store, claimed):
    assert seconds_left(store) == pytest.approx(60.0, abs=2.0)
    version = store.row(claimed.experiment_id).version
    assert store.do(renew, claimed.experiment_id, 1, lease_seconds=500.0) is Status.RUNNING
    assert seconds_left(store) == pytest.approx(500.0, abs=2.0)
    assert store.row(claimed.experiment_id).version == version, "a heartbeat is no change"
    store.do(request_cancel, claimed.experiment_id)
    assert store.do(renew, claimed.experiment_id, 1, lease_seconds=60.0) is Status.CANCELLING


def test_a_heartbeat_does_not_wait_behind_a_batch_of_points(store, claimed):
    with transaction(store.engine) as session:
        write(session, claimed.experiment_id, 1, Batch({"loss": Chunk([0], [1.0])}, []))
        renewed = threading.Thread(target=store.do, args=(renew, claimed.experiment_id, 1), kwargs={"lease_seconds": 9})
        renewed.start()
        renewed.join(10)
        assert not renewed.is_alive()


def test_an_attempt_that_froze_in_the_middle_of_a_transaction_is_taken_over(store, claimed, database_url):
    frozen = make_engine(database_url, stall_seconds=0.5)
    with Session(frozen) as session:
        write(session, claimed.experiment_id, 1, Batch({"loss": Chunk([0], [1.0])}, []))  # holds the row, never commits
        expire(store)
        assert store.do(reap, BUDGET) == [Reaped(claimed.experiment_id, 1, Status.QUEUED)]
        with pytest.raises(UNAVAILABLE):
            session.commit()
    frozen.dispose()
    assert store.do(lambda session: session.scalar(select(func.count()).select_from(CurveChunkRow))) == 0


def test_who_waits_for_a_lock_gives_up_and_may_try_again(store, claimed, database_url):
    impatient = make_engine(database_url, stall_seconds=2.0)
    with transaction(store.engine) as session:
        write(session, claimed.experiment_id, 1, Batch({"loss": Chunk([0], [1.0])}, []))
        expire(store)
        with pytest.raises(DatabaseUnreachable, match="lock timeout"):
            retrying(impatient, partial(reap, budget=BUDGET), patience=0.0)
    assert retrying(impatient, partial(reap, budget=BUDGET), patience=0.0)
    impatient.dispose()


def test_nothing_to_reap(store, claimed):
    assert store.do(reap, BUDGET) == []
    assert store.row(claimed.experiment_id).status == "running"


def test_an_expired_lease_sends_the_experiment_back_and_fences_the_attempt(store, claimed):
    expire(store)
    assert store.do(reap, BUDGET) == [Reaped(claimed.experiment_id, 1, Status.QUEUED)]
    assert store.do(reap, BUDGET) == []
    row = store.row(claimed.experiment_id)
    assert (row.status, row.losses) == ("queued", 1)
    (attempt,) = store.attempts(claimed.experiment_id)
    assert (attempt.outcome, attempt.error["code"]) == ("lost", "worker_lost")
    assert store.do(renew, claimed.experiment_id, 1, lease_seconds=60.0) is None
    assert store.claim().attempt == 2


def test_the_budget_ends_in_failure(store, claimed):
    expire(store)
    store.do(reap, BUDGET)
    store.claim()
    expire(store)
    assert store.do(reap, BUDGET) == [Reaped(claimed.experiment_id, 2, Status.FAILED)]
    error = store.row(claimed.experiment_id).error
    assert (error["category"], error["code"], error["attempt"]) == ("infrastructure", "worker_lost", 2)


def test_a_lost_attempt_that_was_to_be_cancelled_is_cancelled(store, claimed):
    store.do(request_cancel, claimed.experiment_id)
    expire(store)
    assert store.do(reap, BUDGET) == [Reaped(claimed.experiment_id, 1, Status.CANCELLED)]


def test_a_late_heartbeat_saves_an_attempt_that_nobody_has_taken(store, claimed):
    expire(store)
    assert store.do(renew, claimed.experiment_id, 1, lease_seconds=60.0) is Status.RUNNING
    assert store.do(reap, BUDGET) == []


def test_a_released_experiment_leaves_no_lease_to_reap(store, claimed):
    store.do(release, claimed.experiment_id, 1)
    expire(store)
    assert store.do(reap, BUDGET) == []


def test_heartbeat_and_reaper_race_and_agree(store):
    for _ in range(15):
        experiment_id = store.submit()
        store.claim()
        expire(store)
        found: dict[str, object] = {}
        barrier = threading.Barrier(2)

        def beat(mine=experiment_id, found=found, barrier=barrier) -> None:
            barrier.wait()
            found["renewed"] = store.do(renew, mine, 1, lease_seconds=60.0)

        def take(found=found, barrier=barrier) -> None:
            barrier.wait()
            found["reaped"] = store.do(reap, BUDGET)

        threads = [threading.Thread(target=beat), threading.Thread(target=take)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (found["renewed"] is None) == bool(found["reaped"])
        assert store.row(experiment_id).status == ("queued" if found["reaped"] else "running")
        cleared = update(ExperimentRow).values(status=Status.CANCELLED, finished_at=now())
        store.do(lambda session, cleared=cleared: session.execute(cleared))
        store.do(lambda session: session.execute(LeaseRow.__table__.delete()))


def test_only_one_reaps_at_a_time(store, claimed):
    expire(store)
    with transaction(store.engine) as session:
        assert len(reap(session, BUDGET)) == 1
        assert store.do(reap, BUDGET) == []
