"""How an attempt ends, each way once: a compare-and-set on the row, under the fence."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from core import plain
from core.errors import Category
from core.status import Status
from core.store.blobs import Blob
from core.store.changes import change, held_by
from core.store.clock import later, now
from core.store.tables import ArtifactRow, AttemptRow, ExperimentRow, LeaseRow

LONGEST_BACKOFF_SECONDS = 600.0


class Failure(NamedTuple):
    """Why an attempt did not succeed."""

    category: Category
    code: str
    message: str
    facts: Mapping[str, Any] = {}
    """More that is worth telling, plain JSON."""

    def to_json(self, attempt: int) -> dict[str, Any]:
        """The error as it is stored."""
        error = {"category": self.category, "code": self.code, "message": self.message, "attempt": attempt}
        found: dict[str, Any] = plain.data({**self.facts, **error})
        return found


class Budget(NamedTuple):
    """How often an experiment may lose its attempt through no fault of its own."""

    attempts: int
    """Losses with which it fails."""
    backoff_seconds: float
    """Wait after the first loss; doubles with each further one."""

    def wait(self, losses: int) -> float:
        """Seconds to wait after so many losses."""
        return float(min(self.backoff_seconds * 2 ** (losses - 1), LONGEST_BACKOFF_SECONDS))


class StoredArtifact(NamedTuple):
    """A file that the attempt made; its blob is durable."""

    media_type: str
    blob: Blob


def succeed(
    session: Session,
    experiment_id: UUID,
    attempt: int,
    *,
    hyperiteration: int,
    result: Mapping[str, Any],
    artifacts: Mapping[str, StoredArtifact],
) -> Status | None:
    """The attempt reached its end at this hyperiteration: stores the result and the artifacts.

    Returns:
        The experiment's state afterwards; None: the attempt is fenced, and nothing was changed.
    """
    status = _end(
        session,
        experiment_id,
        attempt,
        "succeeded",
        Status.SUCCEEDED,
        result=dict(result),
        hyperiteration=hyperiteration,
    )
    for name, artifact in artifacts.items() if status else ():
        values = {"attempt": attempt, "media_type": artifact.media_type, **artifact.blob._asdict()}
        session.execute(
            upsert(ArtifactRow)
            .values(experiment_id=experiment_id, name=name, **values)
            .on_conflict_do_update(index_elements=[ArtifactRow.experiment_id, ArtifactRow.name], set_=values)
        )
    return status


def fail(session: Session, experiment_id: UUID, attempt: int, failure: Failure) -> Status | None:
    """The experiment itself is at fault: it will not be tried again. Returns as `succeed`."""
    error = failure.to_json(attempt)
    return _end(session, experiment_id, attempt, "failed", Status.FAILED, attempt_error=error, error=error)


def cancel(session: Session, experiment_id: UUID, attempt: int) -> Status | None:
    """The attempt stopped because somebody asked for it. Returns as `succeed`."""
    return _end(session, experiment_id, attempt, "cancelled", Status.CANCELLED)


def release(session: Session, experiment_id: UUID, attempt: int) -> Status | None:
    """The slot gives the experiment back, uncharged; it goes on from its last checkpoint. Returns as `succeed`."""
    held = _lock(session, experiment_id, attempt)
    if held is None:
        return None
    if held.status == Status.CANCELLING:
        return _end(session, experiment_id, attempt, "released", Status.CANCELLED)
    return _end(session, experiment_id, attempt, "released", Status.QUEUED, event="released", available_at=now())


def lose(
    session: Session, experiment_id: UUID, attempt: int, failure: Failure, budget: Budget, *, expired: bool = False
) -> Status | None:
    """The attempt ended through no fault of the experiment: back to the queue, or failed when the budget is spent.

    Args:
        session: an open transaction.
        experiment_id: which experiment.
        attempt: the attempt that is lost.
        failure: what happened.
        budget: how many losses the experiment is allowed.
        expired: do it only if the attempt's lease has run out on the database's clock.

    Returns:
        As `succeed`; None also if `expired` is asked for and the lease holds.
    """
    held = _lock(session, experiment_id, attempt)
    if held is None or (expired and not _lease_expired(session, experiment_id, attempt)):
        return None
    losses = held.losses + 1
    error = failure.to_json(attempt)
    if held.status == Status.CANCELLING:
        return _end(session, experiment_id, attempt, "lost", Status.CANCELLED, attempt_error=error, losses=losses)
    if losses >= budget.attempts:
        return _end(
            session, experiment_id, attempt, "lost", Status.FAILED, attempt_error=error, losses=losses, error=error
        )
    return _end(
        session,
        experiment_id,
        attempt,
        "lost",
        Status.QUEUED,
        event="lost",
        attempt_error=error,
        losses=losses,
        available_at=later(budget.wait(losses)),
    )


class _Held(NamedTuple):
    status: str
    losses: int


def _lock(session: Session, experiment_id: UUID, attempt: int) -> _Held | None:
    statement = (
        select(ExperimentRow.status, ExperimentRow.losses)
        .where(ExperimentRow.id == experiment_id, held_by(attempt))
        .with_for_update()
    )
    found = session.execute(statement).one_or_none()
    return None if found is None else _Held(*found)


def _lease_expired(session: Session, experiment_id: UUID, attempt: int) -> bool:
    """Locks the lease, so that a heartbeat comes either before (it holds) or after (it is gone)."""
    statement = (
        select(LeaseRow.attempt)
        .where(LeaseRow.experiment_id == experiment_id, LeaseRow.attempt == attempt, LeaseRow.lease_until < now())
        .with_for_update()
    )
    return session.execute(statement).one_or_none() is not None


def _end(
    session: Session,
    experiment_id: UUID,
    attempt: int,
    outcome: str,
    status: Status,
    *,
    event: str | None = None,
    attempt_error: dict[str, Any] | None = None,
    **columns: Any,
) -> Status | None:
    """Moves the row to `status`, ends the attempt with `outcome`, and removes the lease; None: fenced."""
    if status.terminal:
        columns["finished_at"] = now()
    data: dict[str, Any] = {"attempt": attempt} | ({"error": attempt_error} if attempt_error else {})
    version = change(
        session,
        experiment_id,
        held_by(attempt),
        event=event or status.value,
        data=data,
        status=status,
        **columns,
    )
    if version is None:
        return None
    session.execute(
        update(AttemptRow)
        .where(AttemptRow.experiment_id == experiment_id, AttemptRow.number == attempt)
        .values(outcome=outcome, ended_at=now(), error=attempt_error)
    )
    session.execute(delete(LeaseRow).where(LeaseRow.experiment_id == experiment_id, LeaseRow.attempt == attempt))
    return status
