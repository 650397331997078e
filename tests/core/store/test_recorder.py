"""What the loop writes through: buffers, retries, the fence, and checkpoints that verify."""

import math
import os
from collections.abc import Iterator
from functools import partial
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Engine

from core.checkpointing import Checkpoint
from core.errors import DatabaseUnreachable, Fenced
from core.store import checkpoints, finishing, retrying
from core.store.blobs import Blobs
from core.store.cancelling import request_cancel
from core.store.engine import make_engine
from core.store.finishing import StoredArtifact, release, succeed
from core.store.recorder import StoreCheckpoints, StoreRecorder
from core.store.tables import CurveChunkRow

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture
def blobs(storage_dir) -> Blobs:
    return Blobs(storage_dir)


@pytest.fixture
def nowhere() -> Iterator[Engine]:
    engine = make_engine(NOWHERE)
    yield engine
    engine.dispose()


@pytest.fixture(autouse=True)
def impatient(monkeypatch) -> None:
    monkeypatch.setattr(retrying, "PAUSE_SECONDS", 0.01)


def recorder(store, experiment_id: UUID, attempt: int = 1, **knobs) -> StoreRecorder:
    return StoreRecorder(store.engine, experiment_id, attempt, **{"flush_seconds": 0.0, "patience": 1.0, **knobs})


def keeper(store, blobs, experiment_id: UUID, attempt: int = 1) -> StoreCheckpoints:
    own = recorder(store, experiment_id, attempt)
    return StoreCheckpoints(store.engine, blobs, experiment_id, attempt, recorder=own, patience=1.0)


def stored(store) -> dict[str, dict[int, float]]:
    curves: dict[str, dict[int, float]] = {}
    for row in store.do(lambda session: session.query(CurveChunkRow).order_by(CurveChunkRow.first).all()):
        curves.setdefault(row.series, {}).update(zip(row.steps, row.points, strict=True))
    return curves


class Outage:
    """A recorder's database goes away and comes back."""

    def __init__(self, recorder: StoreRecorder, nowhere: Engine) -> None:
        self._recorder, self._nowhere, self._engine = recorder, nowhere, recorder._engine

    def __enter__(self) -> None:
        self._recorder._engine = self._nowhere

    def __exit__(self, *_: object) -> None:
        self._recorder._engine = self._engine


def test_points_are_held_back_until_their_time(store, claimed):
    mine = recorder(store, claimed.experiment_id, flush_seconds=3600.0)
    for k in range(3):
        mine.points(k, {"loss": 1.0 / (k + 1), "norm": math.nan})
    assert stored(store) == {}
    mine.event("evaluated", {"hyperiteration": 2, "loss": math.inf, "of": [math.nan, 1.0]})
    mine.flush()
    curves = stored(store)
    assert curves["loss"] == {0: 1.0, 1: 0.5, 2: 1 / 3}
    assert all(math.isnan(value) for value in curves["norm"].values())
    told = store.events(claimed.experiment_id)[-1]
    assert told.data == {"hyperiteration": 2, "loss": "Infinity", "of": ["NaN", 1.0], "attempt": 1}
    mine.flush()
    assert store.kinds(claimed.experiment_id).count("evaluated") == 1


def test_points_are_written_without_a_flush_when_it_is_time(store, claimed):
    mine = recorder(store, claimed.experiment_id)
    mine.points(0, {"loss": 1.0})
    assert stored(store) == {"loss": {0: 1.0}}


def test_a_short_outage_costs_nothing(store, claimed, nowhere, caplog):
    mine = recorder(store, claimed.experiment_id, patience=60.0)
    mine.points(0, {"loss": 0.0})
    with Outage(mine, nowhere):
        for k in range(1, 4):
            mine.points(k, {"loss": float(k)})
    assert "held back" in caplog.text
    assert stored(store) == {"loss": {0: 0.0}}
    mine.points(4, {"loss": 4.0})
    assert stored(store) == {"loss": {k: float(k) for k in range(5)}}


def test_a_commit_whose_answer_was_lost_is_repeated_without_harm(store, claimed):
    mine = recorder(store, claimed.experiment_id, flush_seconds=3600.0)
    mine.points(0, {"loss": 0.0})
    mine.event("evaluated", {"hyperiteration": 0})
    assert mine._seal() is not None
    store.do(mine._write_batch)  # committed, but the recorder does not know
    mine.points(1, {"loss": 1.0})
    mine.flush()
    assert stored(store) == {"loss": {0: 0.0, 1: 1.0}}
    assert store.kinds(claimed.experiment_id).count("evaluated") == 1


def test_a_long_outage_ends_it_clearly(store, claimed, nowhere):
    mine = recorder(store, claimed.experiment_id, patience=0.0)
    with Outage(mine, nowhere), pytest.raises(DatabaseUnreachable):
        mine.points(0, {"loss": 0.0})
    patient = recorder(store, claimed.experiment_id, flush_seconds=3600.0, patience=0.2)
    patient.points(0, {"loss": 0.0})
    with Outage(patient, nowhere), pytest.raises(DatabaseUnreachable, match=r"0\.2 s"):
        patient.flush()


def test_a_broken_connection_is_replaced(store, claimed, postgres):
    mine = recorder(store, claimed.experiment_id)
    mine.points(0, {"loss": 0.0})
    with psycopg.connect(postgres, autocommit=True) as connection:
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tests'"
        assert connection.execute(kill).rowcount > 0
    mine.points(1, {"loss": 1.0})
    mine.flush()
    assert stored(store)["loss"] == {0: 0.0, 1: 1.0}


def test_a_fenced_recorder_says_so_and_writes_nothing(store, claimed, blobs):
    store.do(release, claimed.experiment_id, 1)
    store.claim()
    mine = recorder(store, claimed.experiment_id)
    with pytest.raises(Fenced):
        mine.points(0, {"loss": 0.0})
    with pytest.raises(Fenced):
        keeper(store, blobs, claimed.experiment_id).save(Checkpoint(3, b"three"))
    assert stored(store) == {}
    assert store.do(checkpoints.manifests, claimed.experiment_id) == []


def test_the_newest_checkpoint_is_found_by_the_next_attempt(store, claimed, blobs):
    experiment_id = claimed.experiment_id
    mine = keeper(store, blobs, experiment_id)
    assert mine.latest() is None
    for k in (3, 6, 9):
        mine.save(Checkpoint(k, f"payload {k}".encode()))
    assert mine.latest() == Checkpoint(9, b"payload 9")
    store.do(release, experiment_id, 1)
    store.claim()
    theirs = keeper(store, blobs, experiment_id, attempt=2)
    assert theirs.latest() == Checkpoint(9, b"payload 9")
    theirs.save(Checkpoint(9, b"payload 9"))
    theirs.save(Checkpoint(7, b"payload 7"))
    assert theirs.latest() == Checkpoint(9, b"payload 9")


def test_two_checkpoints_and_their_files_are_kept(store, claimed, blobs, storage_dir):
    mine = keeper(store, blobs, claimed.experiment_id)
    for k in range(5):
        mine.save(Checkpoint(k, f"payload {k}".encode()))
    manifests = store.do(checkpoints.manifests, claimed.experiment_id)
    assert [manifest.hyperiteration for manifest in manifests] == [4, 3]
    files = {file.name for file in storage_dir.rglob("*") if file.is_file()}
    assert files == {manifest.sha256 for manifest in manifests}


@pytest.mark.parametrize("damage", ["cut", "changed", "removed"])
def test_a_damaged_checkpoint_is_dropped_for_the_one_before(store, claimed, blobs, damage):
    mine = keeper(store, blobs, claimed.experiment_id)
    for k in (3, 6):
        mine.save(Checkpoint(k, f"payload {k}".encode()))
    newest = blobs.path(store.do(checkpoints.manifests, claimed.experiment_id)[0].sha256)
    match damage:
        case "cut":
            newest.write_bytes(b"pay")
        case "changed":
            newest.write_bytes(b"payload 7")
        case "removed":
            newest.unlink()
    assert mine.latest() == Checkpoint(3, b"payload 3")
    mine.save(Checkpoint(6, b"payload 6"))
    assert mine.latest() == Checkpoint(6, b"payload 6")


def test_without_any_file_it_waits_for_the_storage_instead_of_beginning_again(store, claimed, blobs):
    mine = keeper(store, blobs, claimed.experiment_id)
    for k in (3, 6):
        mine.save(Checkpoint(k, f"payload {k}".encode()))
    kept = store.do(checkpoints.manifests, claimed.experiment_id)
    for manifest in kept:
        blobs.remove(manifest.sha256)
    with pytest.raises(FileNotFoundError):
        mine.latest()
    assert store.do(checkpoints.manifests, claimed.experiment_id) == kept
    blobs.put(b"payload 6")
    assert mine.latest() == Checkpoint(6, b"payload 6")


def test_a_file_that_two_experiments_share_stays_as_long_as_one_refers_to_it(store, blobs, storage_dir):
    keepers = []
    for _ in range(2):
        store.submit()
        keepers.append(keeper(store, blobs, store.claim().experiment_id))
    for mine in keepers:
        mine.save(Checkpoint(0, b"the same"))
    keepers[0].save(Checkpoint(1, b"one"))
    keepers[0].save(Checkpoint(2, b"two"))
    assert keepers[1].latest() == Checkpoint(0, b"the same")


def test_an_artifact_keeps_its_file(store, claimed, blobs):
    blob = blobs.put(b"artifact")
    store.do(
        succeed,
        claimed.experiment_id,
        1,
        hyperiteration=100,
        result={},
        artifacts={"a": StoredArtifact("text/plain", blob)},
    )
    store.do(checkpoints.sweep, blobs, [blob.sha256])
    assert blobs.get(blob.sha256) == b"artifact"


def test_old_files_that_nothing_refers_to_are_swept_away(store, claimed, blobs):
    keeper(store, blobs, claimed.experiment_id).save(Checkpoint(1, b"kept"))
    forgotten, recent = blobs.put(b"forgotten"), blobs.put(b"recent")
    kept = store.do(checkpoints.manifests, claimed.experiment_id)[0]
    for sha256 in (forgotten.sha256, kept.sha256):
        os.utime(blobs.path(sha256), (0, 0))
    (found,) = store.do(checkpoints.forgotten, blobs)
    assert found == forgotten.sha256
    store.do(checkpoints.sweep, blobs, [found, kept.sha256])
    assert not blobs.path(forgotten.sha256).exists()
    assert blobs.get(kept.sha256) == b"kept"
    assert blobs.get(recent.sha256) == b"recent"


@pytest.mark.parametrize(
    ("end", "kept"),
    [
        (partial(finishing.fail, failure=finishing.Failure("user", "diverged", "It has.")), 0),
        (partial(finishing.lose, failure=finishing.Failure("user", "x", "y"), budget=finishing.Budget(1, 0.0)), 0),
        (partial(finishing.succeed, hyperiteration=100, result={}, artifacts={}), 0),
        (finishing.release, 1),
    ],
)
def test_checkpoints_are_kept_until_the_end(store, claimed, blobs, end, kept):
    keeper(store, blobs, claimed.experiment_id).save(Checkpoint(1, b"state"))
    assert store.do(end, claimed.experiment_id, 1)
    assert len(store.do(checkpoints.manifests, claimed.experiment_id)) == kept


def test_cancelled_while_it_runs_it_needs_its_checkpoints_no_more(store, claimed, blobs):
    keeper(store, blobs, claimed.experiment_id).save(Checkpoint(1, b"state"))
    store.do(request_cancel, claimed.experiment_id)
    store.do(finishing.cancel, claimed.experiment_id, 1)
    assert store.do(checkpoints.manifests, claimed.experiment_id) == []


def test_cancelled_while_it_waits_it_needs_its_checkpoints_no_more(store, claimed, blobs):
    keeper(store, blobs, claimed.experiment_id).save(Checkpoint(1, b"state"))
    store.do(finishing.release, claimed.experiment_id, 1)
    store.do(request_cancel, claimed.experiment_id)
    assert store.do(checkpoints.manifests, claimed.experiment_id) == []


def test_points_before_a_checkpoint_are_durable_when_it_is(store, claimed, blobs):
    mine = recorder(store, claimed.experiment_id, flush_seconds=3600.0)
    mine.points(0, {"loss": 0.0})
    StoreCheckpoints(store.engine, blobs, claimed.experiment_id, 1, recorder=mine, patience=1.0).save(
        Checkpoint(1, b"state")
    )
    assert stored(store) == {"loss": {0: 0.0}}
