"""An attempt writes its curves and events, under the fence."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from core.errors import Fenced
from core.store.changes import change, held_by
from core.store.tables import CurveChunkRow, EventRow, ExperimentRow


class Chunk(NamedTuple):
    """Consecutive points of a series."""

    steps: Sequence[int]
    """Hyperiterations, rising, at least one."""
    points: Sequence[float]
    """Values; may be non-finite."""


class Told(NamedTuple):
    """An event of an attempt."""

    kind: str
    data: Mapping[str, Any]


class Batch(NamedTuple):
    """What a recorder writes at a time. A batch that may have been written is written again unchanged."""

    chunks: Mapping[str, Chunk]
    events: Sequence[Told]


def write(session: Session, experiment_id: UUID, attempt: int, batch: Batch) -> None:
    """Stores a batch and the progress that it shows; writing it twice is writing it once.

    Raises:
        Fenced: the attempt no longer holds the experiment; nothing is stored.
    """
    last = max((chunk.steps[-1] for chunk in batch.chunks.values()), default=0)
    progress = func.least(func.greatest(ExperimentRow.hyperiteration, last), ExperimentRow.hyperiterations)
    # The row's lock, taken first, keeps the attempt in office until the transaction ends.
    if change(session, experiment_id, held_by(attempt), hyperiteration=progress) is None:
        raise Fenced
    rows = [
        {
            "experiment_id": experiment_id,
            "series": series,
            "attempt": attempt,
            "first": chunk.steps[0],
            "last": chunk.steps[-1],
            "steps": list(chunk.steps),
            "points": list(chunk.points),
        }
        for series, chunk in batch.chunks.items()
    ]
    if rows:
        session.execute(upsert(CurveChunkRow).values(rows).on_conflict_do_nothing())
    for told in batch.events:
        _tell(session, experiment_id, attempt, told)


def _tell(session: Session, experiment_id: UUID, attempt: int, told: Told) -> None:
    data = {**told.data, "attempt": attempt}
    same = select(EventRow.version).where(
        EventRow.experiment_id == experiment_id, EventRow.kind == told.kind, EventRow.data == data
    )
    if session.execute(same).first() is None:
        change(session, experiment_id, held_by(attempt), event=told.kind, data=data)
