"""Batches of points and events: under the fence, and once however often they are written."""

import math

import pytest

from core.errors import Fenced
from core.store.finishing import release, succeed
from core.store.points import Batch, Chunk, Told, write
from core.store.tables import CurveChunkRow

BATCH = Batch(
    {"loss": Chunk([0, 1, 2], [1.0, math.nan, math.inf]), "accuracy": Chunk([0], [0.5])},
    [Told("evaluated", {"hyperiteration": 0})],
)


def chunks(store) -> dict[tuple, tuple]:
    rows = store.do(lambda session: session.query(CurveChunkRow).all())
    return {(row.series, row.attempt, row.first): (row.last, row.steps, row.points) for row in rows}


def test_a_batch_is_stored_with_the_progress_it_shows(store, claimed):
    store.do(write, claimed.experiment_id, 1, BATCH)
    found = chunks(store)
    assert found["accuracy", 1, 0] == (0, [0], [0.5])
    last, steps, points = found["loss", 1, 0]
    assert (last, steps, points[0], points[2]) == (2, [0, 1, 2], 1.0, math.inf)
    assert math.isnan(points[1])
    assert store.row(claimed.experiment_id).hyperiteration == 2
    assert store.events(claimed.experiment_id)[-1].data == {"hyperiteration": 0, "attempt": 1}


def test_a_batch_written_twice_is_there_once(store, claimed):
    store.do(write, claimed.experiment_id, 1, BATCH)
    before = chunks(store).keys()
    store.do(write, claimed.experiment_id, 1, BATCH)
    assert chunks(store).keys() == before
    assert store.kinds(claimed.experiment_id).count("evaluated") == 1


def test_every_write_raises_the_version(store, claimed):
    before = store.row(claimed.experiment_id).version
    store.do(write, claimed.experiment_id, 1, Batch({"loss": Chunk([0], [1.0])}, []))
    assert store.row(claimed.experiment_id).version == before + 1


def test_progress_never_falls_and_never_exceeds_the_plan(store, claimed):
    for steps, expected in (([5], 5), ([3], 5), ([1000], 100)):
        store.do(write, claimed.experiment_id, 1, Batch({"loss": Chunk(steps, [0.0])}, []))
        assert store.row(claimed.experiment_id).hyperiteration == expected


def test_a_fenced_attempt_writes_nothing(store, claimed):
    store.do(release, claimed.experiment_id, 1)
    with pytest.raises(Fenced):
        store.do(write, claimed.experiment_id, 1, BATCH)  # queued
    store.claim()
    with pytest.raises(Fenced):
        store.do(write, claimed.experiment_id, 1, BATCH)  # held by attempt 2
    store.do(write, claimed.experiment_id, 2, BATCH)
    store.do(succeed, claimed.experiment_id, 2, hyperiteration=100, result={}, artifacts={})
    with pytest.raises(Fenced):
        store.do(write, claimed.experiment_id, 2, BATCH)  # ended
    assert {attempt for _, attempt, _ in chunks(store)} == {2}
