"""Manifests of checkpoints: which blob holds the state before which hyperiteration."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import delete, func, select, union_all
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from core.errors import Fenced
from core.store.blobs import Blob, Blobs
from core.store.changes import held_by
from core.store.tables import ArtifactRow, CheckpointRow, ExperimentRow

KEPT = 2
"""Checkpoints kept of an experiment: the newest, and one more should its file be damaged."""


class Manifest(NamedTuple):
    """One checkpoint."""

    attempt: int
    hyperiteration: int
    sha256: str


def manifests(session: Session, experiment_id: UUID) -> list[Manifest]:
    """The experiment's checkpoints, newest first."""
    statement = (
        select(CheckpointRow.attempt, CheckpointRow.hyperiteration, CheckpointRow.sha256)
        .where(CheckpointRow.experiment_id == experiment_id)
        .order_by(CheckpointRow.attempt.desc(), CheckpointRow.hyperiteration.desc())
    )
    return [Manifest(*found) for found in session.execute(statement)]


def keep(session: Session, experiment_id: UUID, attempt: int, hyperiteration: int, blob: Blob) -> list[str]:
    """Stores a checkpoint's manifest, drops those of older ones, and returns the hashes of the dropped.

    The caller holds the blob (`hold`), so that it is not swept away before this commits.

    Raises:
        Fenced: the attempt no longer holds the experiment; nothing is stored.
    """
    check_held(session, experiment_id, attempt)
    values = blob._asdict()
    session.execute(
        upsert(CheckpointRow)
        .values(experiment_id=experiment_id, attempt=attempt, hyperiteration=hyperiteration, **values)
        .on_conflict_do_update(index_elements=list(CheckpointRow.__table__.primary_key), set_=values)
    )
    return drop(session, experiment_id, manifests(session, experiment_id)[KEPT:])


def drop(session: Session, experiment_id: UUID, dropped: Sequence[Manifest]) -> list[str]:
    """Deletes manifests and returns their hashes."""
    for manifest in dropped:
        session.execute(
            delete(CheckpointRow).where(
                CheckpointRow.experiment_id == experiment_id,
                CheckpointRow.attempt == manifest.attempt,
                CheckpointRow.hyperiteration == manifest.hyperiteration,
            )
        )
    return [manifest.sha256 for manifest in dropped]


def check_held(session: Session, experiment_id: UUID, attempt: int) -> None:
    """Holds the fence until the transaction ends.

    Raises:
        Fenced: the attempt no longer holds the experiment.
    """
    statement = (
        select(ExperimentRow.id).where(ExperimentRow.id == experiment_id, held_by(attempt)).with_for_update(read=True)
    )
    if session.execute(statement).one_or_none() is None:
        raise Fenced


def hold(session: Session, sha256: str) -> None:
    """Keeps others from sweeping, or holding, the blob until the transaction ends."""
    session.execute(select(func.pg_advisory_xact_lock(int.from_bytes(bytes.fromhex(sha256)[:8], "big", signed=True))))


def forgotten(session: Session, blobs: Blobs) -> list[str]:
    """Old blobs that nothing refers to, left where a process died in between or an experiment ended."""
    referred = select(CheckpointRow.sha256).union(select(ArtifactRow.sha256))
    return sorted(blobs.stale() - set(session.scalars(referred)))


def sweep(session: Session, blobs: Blobs, hashes: Iterable[str]) -> None:
    """Removes the blobs that nothing refers to any more; two experiments may share one.

    Each takes a lock until the transaction ends, of which a server has some thousands: a hundred at a time.
    """
    for sha256 in sorted(set(hashes)):
        hold(session, sha256)
        references = union_all(
            *(select(row.size).where(row.sha256 == sha256).limit(1) for row in (CheckpointRow, ArtifactRow))
        )
        if session.execute(references).first() is None:
            blobs.remove(sha256)
