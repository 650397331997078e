"""Sweeps in the database: all members or none, cancelled and retried under races, terminal states left alone."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from core.errors import IdempotencyConflict, NotFound
from core.spec import Experiment, Sweep
from core.status import Status
from core.store import finishing, sweep_reading
from core.store.idempotency import IdempotencyKey
from core.store.listing import Filters, Position
from core.store.submitting import submit
from core.store.sweeping import cancel_sweep, retry_sweep, submit_sweep
from core.store.tables import EventRow, ExperimentRow, SweepMemberRow, SweepRow

RESULT = {"best": {}}
FAILURE = finishing.Failure("user", "diverged", "Lower the rate.")


def make(**fields: Any) -> Sweep:
    grid = {"algorithm.steps": [1, 2, 3]}
    return Sweep.model_validate({"base": {"problem": {"kind": "quadratic"}}, "grid": grid, "seeds": [0, 1]} | fields)


@pytest.fixture
def sweep_id(store) -> UUID:
    return store.do(submit_sweep, make()).id


def count(store, table) -> int:
    return store.do(lambda session: session.scalar(select(func.count()).select_from(table)))


def members(store, sweep_id) -> list[sweep_reading.MemberReading]:
    return store.do(sweep_reading.get, sweep_id).members


def statuses(store, sweep_id) -> list[Status]:
    return [member.status for member in members(store, sweep_id)]


def end(store, ending: str) -> UUID:
    claimed = store.claim()
    held = (claimed.experiment_id, claimed.attempt)
    if ending == "succeeded":
        store.do(finishing.succeed, *held, hyperiteration=100, result=RESULT, artifacts={})
    else:
        store.do(finishing.fail, *held, FAILURE)
    return claimed.experiment_id


def test_every_member_is_an_experiment_as_if_submitted_alone(store, sweep_id):
    sweep = make()
    found = members(store, sweep_id)
    assert [member.member for member in found] == list(range(6))
    for member, reading in zip(sweep.members, found, strict=True):
        assert reading.parameters == member.parameters
        assert list(reading.parameters) == ["algorithm.steps", "seed"], "the order of the grid is kept"
        row = store.row(reading.experiment_id)
        alone = store.row(store.do(submit, member.experiment).id)
        own = {"id", "created_at", "available_at"}
        for column in set(ExperimentRow.__table__.columns.keys()) - own:
            assert getattr(row, column) == getattr(alone, column), column
        assert store.kinds(reading.experiment_id) == ["queued"]
        assert (reading.trial, reading.status, reading.version) == (1, Status.QUEUED, 1)


def test_members_are_claimed_in_their_order(store, sweep_id):
    claimed = [store.claim().experiment_id for _ in range(6)]
    assert claimed == [member.experiment_id for member in members(store, sweep_id)]


def test_the_largest_sweep_is_one_transaction(store):
    sweep = make(grid={"steps": list(range(1, 101))}, seeds=list(range(10)))
    sweep_id = store.do(submit_sweep, sweep).id
    reading = store.do(sweep_reading.get, sweep_id)
    assert len(reading.members) == reading.row.members == reading.version == count(store, EventRow) == 1000
    assert store.do(cancel_sweep, sweep_id) == 1000
    assert store.do(retry_sweep, sweep_id) == 1000
    assert count(store, ExperimentRow) == 2000


def test_nothing_is_stored_if_something_goes_wrong(store, monkeypatch):
    monkeypatch.setattr("core.store.sweeping.insert_queued", lambda *_: [uuid4()] * 6)  # which no row has
    with pytest.raises(IntegrityError):
        store.do(submit_sweep, make(), IdempotencyKey("me", "k"))
    assert (count(store, SweepRow), count(store, SweepMemberRow), count(store, ExperimentRow)) == (0, 0, 0)
    monkeypatch.undo()
    assert store.do(submit_sweep, make(), IdempotencyKey("me", "k")).created


class TestIdempotency:
    KEY = IdempotencyKey("me", "k")

    def test_a_key_is_a_sweep(self, store):
        first = store.do(submit_sweep, make(), self.KEY)
        again = store.do(submit_sweep, make(grid={"steps": [1, 2, 3]}), self.KEY)
        assert (first.created, again.created, again.id) == (True, False, first.id)
        assert (count(store, SweepRow), count(store, ExperimentRow)) == (1, 6)
        with pytest.raises(IdempotencyConflict):
            store.do(submit_sweep, make(seeds=[0]), self.KEY)

    def test_keys_of_experiments_are_others(self, store):
        experiment = Experiment.model_validate(make().base)
        one, other = store.do(submit, experiment, self.KEY), store.do(submit_sweep, make(), self.KEY)
        assert one.created
        assert other.created
        assert store.do(submit, experiment, self.KEY) == (one.id, False)
        assert store.do(submit_sweep, make(), self.KEY) == (other.id, False)

    def test_two_at_once_are_one(self, store):
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: store.do(submit_sweep, make(), self.KEY), range(8)))
        assert len({each.id for each in found}) == 1
        assert [each.created for each in found].count(True) == 1
        assert (count(store, SweepRow), count(store, ExperimentRow)) == (1, 6)

    def test_the_database_wants_one_target(self, store):
        statement = text("INSERT INTO idempotency_keys VALUES ('c', 'k', '\\x00', NULL, now(), 'sweeps', NULL)")
        with pytest.raises(IntegrityError, match="ck_idempotency_keys_route"):
            store.do(lambda session: session.execute(statement))


class TestCancel:
    def test_what_has_not_ended_is_cancelled(self, store, sweep_id):
        good, bad = end(store, "succeeded"), end(store, "failed")
        running = store.claim()
        before = store.do(sweep_reading.version, sweep_id)
        assert store.do(cancel_sweep, sweep_id) == 4
        assert statuses(store, sweep_id) == [
            *(Status.SUCCEEDED, Status.FAILED, Status.CANCELLING),
            *[Status.CANCELLED] * 3,
        ]
        assert store.do(sweep_reading.version, sweep_id) == before + 4
        assert store.kinds(running.experiment_id)[-1] == "cancelling"
        assert [store.kinds(each)[-1] for each in (good, bad)] == ["succeeded", "failed"]
        for member in members(store, sweep_id)[3:]:
            assert store.kinds(member.experiment_id) == ["queued", "cancelled"]
            assert store.row(member.experiment_id).finished_at is not None
        assert store.claim() is None

    def test_again_changes_nothing(self, store, sweep_id):
        store.claim()
        assert store.do(cancel_sweep, sweep_id) == 6
        before = store.do(sweep_reading.version, sweep_id)
        assert store.do(cancel_sweep, sweep_id) == 0
        assert store.do(sweep_reading.version, sweep_id) == before

    def test_while_slots_claim(self, store):
        sweep_id = store.do(submit_sweep, make(seeds=list(range(10)))).id

        def drain(number: int) -> list[UUID]:
            return [claimed.experiment_id for claimed in iter(store.claim, None)]

        with ThreadPoolExecutor(4) as pool:
            shares = [pool.submit(drain, number) for number in range(3)]
            cancelled = pool.submit(store.do, cancel_sweep, sweep_id).result()
        claimed = {each for share in shares for each in share.result()}
        assert cancelled == 30
        for member in members(store, sweep_id):
            was_claimed = member.experiment_id in claimed
            assert member.status is (Status.CANCELLING if was_claimed else Status.CANCELLED)

    def test_none(self, store):
        for function in (cancel_sweep, retry_sweep, sweep_reading.get, sweep_reading.version):
            with pytest.raises(NotFound, match="no such sweep"):
                store.do(function, uuid4())


class TestRetry:
    def test_what_did_not_succeed_is_submitted_again(self, store, sweep_id):
        end(store, "succeeded")
        failed = end(store, "failed")
        store.claim()
        store.do(cancel_sweep, sweep_id)
        first = members(store, sweep_id)
        before = store.do(sweep_reading.version, sweep_id)
        assert store.do(retry_sweep, sweep_id) == 4, "what is still being stopped is not"
        again = members(store, sweep_id)
        assert [member.trial for member in again] == [1, 2, 1, 2, 2, 2]
        assert [member.status for member in again] == [
            *(Status.SUCCEEDED, Status.QUEUED, Status.CANCELLING),
            *[Status.QUEUED] * 3,
        ]
        assert store.do(sweep_reading.version, sweep_id) == before + 4
        assert store.row(failed).status == Status.FAILED, "a terminal state stays"
        assert (again[1].parameters, again[0]) == (first[1].parameters, first[0])
        old, new = store.row(failed), store.row(again[1].experiment_id)
        assert (new.spec, new.spec_sha256, new.name, new.labels) == (old.spec, old.spec_sha256, old.name, old.labels)
        assert (new.attempt, new.error, new.version) == (0, None, 1)
        assert store.kinds(new.id) == ["queued"]

    def test_again_submits_nothing(self, store, sweep_id):
        store.do(cancel_sweep, sweep_id)
        assert store.do(retry_sweep, sweep_id) == 6
        assert store.do(retry_sweep, sweep_id) == 0
        assert count(store, ExperimentRow) == 12
        assert store.do(cancel_sweep, sweep_id) == 6, "the newest trials"

    def test_two_at_once_submit_once(self, store, sweep_id):
        store.do(cancel_sweep, sweep_id)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: store.do(retry_sweep, sweep_id), range(4)))
        assert sorted(found) == [0, 0, 0, 6]
        assert count(store, ExperimentRow) == 12


class TestPages:
    def test_a_page_tells_how_far_each_is(self, store, sweep_id):
        end(store, "succeeded")
        end(store, "failed")
        store.do(cancel_sweep, sweep_id)
        store.do(retry_sweep, sweep_id)
        other = store.do(submit_sweep, make(seeds=[0], name="other", labels={"a": "b"})).id
        found = store.do(sweep_reading.page, Filters(), after=None, size=10)
        assert [row.id for row, _ in found] == [other, sweep_id]
        (_, fresh), (old, standing) = found
        assert fresh.counts == {Status.QUEUED: 3}
        assert standing == store.do(sweep_reading.get, sweep_id).standing
        assert standing.counts == {Status.SUCCEEDED: 1, Status.QUEUED: 5}
        assert (standing.hyperiteration, standing.hyperiterations) == (100, 600)
        position = Position(found[0][0].created_at, other)
        assert [row.id for row, _ in store.do(sweep_reading.page, Filters(), after=position, size=10)] == [old.id]
        for filters in (Filters(name="OTH"), Filters(labels=["a:b"]), Filters(id_prefix=other.hex[:9])):
            assert [row.id for row, _ in store.do(sweep_reading.page, filters, after=None, size=10)] == [other]
        assert store.do(sweep_reading.page, Filters(name="none"), after=None, size=10) == []
