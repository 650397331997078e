"""Each experiment is claimed once, the best one first, by a slot that can run it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, update

from core.status import Status
from core.store.cancelling import request_cancel
from core.store.claiming import due
from core.store.tables import ExperimentRow


def test_nothing_to_claim(store):
    assert store.claim() is None
    assert store.do(due, limit=10) == 0


def test_a_claim_makes_the_row_running_under_a_new_attempt(store):
    experiment_id = store.submit()
    assert store.do(due, limit=10) == 1
    claimed = store.claim(slot="host/1/0")
    assert (claimed.experiment_id, claimed.attempt, claimed.device) == (experiment_id, 1, "cpu")
    row = store.row(experiment_id)
    assert claimed.spec == row.spec
    assert (row.status, row.attempt) == (Status.RUNNING, 1)
    assert row.started_at is not None
    (attempt,) = store.attempts(experiment_id)
    assert (attempt.number, attempt.slot, attempt.outcome) == (1, "host/1/0", None)
    assert store.leases() == 1
    assert store.kinds(experiment_id) == ["queued", "started"]
    assert store.events(experiment_id)[-1].data == {"attempt": 1, "slot": "host/1/0", "device": "cpu"}
    assert store.claim() is None
    assert store.do(due, limit=10) == 0


def test_many_slots_race_for_many_rows_and_each_is_claimed_once(store):
    submitted = {store.submit() for _ in range(40)}

    def drain(number: int) -> list:
        mine = []
        while (claimed := store.claim(slot=f"slot {number}")) is not None:
            mine.append(claimed.experiment_id)
        return mine

    with ThreadPoolExecutor(8) as pool:
        shares = list(pool.map(drain, range(8)))
    claimed = [experiment_id for share in shares for experiment_id in share]
    assert len(claimed) == len(submitted)
    assert set(claimed) == submitted
    assert all(len(store.attempts(experiment_id)) == 1 for experiment_id in submitted)


def test_two_slots_race_for_one_row(store):
    for _ in range(20):
        experiment_id = store.submit()
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda _: store.claim(), range(2)))
        assert [claimed.experiment_id for claimed in found if claimed] == [experiment_id]


def test_higher_priority_first_then_the_oldest(store):
    old, new = store.submit(), store.submit()
    urgent = store.submit(priority=5)
    idle = store.submit(priority=-5)
    assert [store.claim().experiment_id for _ in range(4)] == [urgent, old, new, idle]


def test_a_slot_takes_what_its_device_can_run(store):
    on_gpu, on_cpu, anywhere = store.submit(device="cuda"), store.submit(device="cpu"), store.submit()
    first, second = store.claim(), store.claim()
    assert [(c.experiment_id, c.device) for c in (first, second)] == [(on_cpu, "cpu"), (anywhere, "cpu")]
    assert store.claim() is None
    claimed = store.claim(device="cuda:1")
    assert (claimed.experiment_id, claimed.device) == (on_gpu, "cuda:1")


def test_a_gpu_slot_runs_an_experiment_for_the_cpu_on_the_cpu(store):
    store.submit(device="cpu")
    assert store.claim(device="cuda:0").device == "cpu"


def test_not_before_its_time(store):
    experiment_id = store.submit()
    later = update(ExperimentRow).values(losses=1, available_at=func.now() + timedelta(minutes=5))
    store.do(lambda session: session.execute(later))
    assert store.claim() is None
    assert store.do(due, limit=10) == 0
    store.do(lambda session: session.execute(update(ExperimentRow).values(available_at=func.now())))
    assert store.claim().experiment_id == experiment_id


@pytest.mark.parametrize(
    ("losses", "ahead"), [(0, timedelta(minutes=5)), (0, timedelta(days=1)), (1, timedelta(hours=1))]
)
def test_a_clock_that_was_set_back_holds_nothing_up(store, losses, ahead):
    experiment_id = store.submit()
    later = update(ExperimentRow).values(losses=losses, available_at=func.now() + ahead)
    store.do(lambda session: session.execute(later))
    assert store.do(due, limit=10) == 1
    assert store.claim().experiment_id == experiment_id


def test_a_cancelled_experiment_is_not_claimed(store):
    experiment_id = store.submit()
    assert store.do(request_cancel, experiment_id) is Status.CANCELLED
    assert store.claim() is None


def test_due_counts_up_to_its_limit(store):
    for _ in range(5):
        store.submit()
    assert store.do(due, limit=3) == 3
