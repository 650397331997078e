"""Takes experiments back from attempts whose lease has run out."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.status import Status
from core.store.clock import now
from core.store.finishing import Budget, Failure, lose
from core.store.tables import LeaseRow

LOCK = 0x62696C65_00000002
"""Advisory lock: of all processes that reap, one does so at a time."""
MOST = 100
"""Leases taken back in one transaction."""

LOST = Failure("infrastructure", "worker_lost", "The worker that ran the experiment stopped sending heartbeats.")


class Reaped(NamedTuple):
    """An attempt whose lease had run out."""

    experiment_id: UUID
    attempt: int
    status: Status
    """Of the experiment, afterwards."""


def reap(session: Session, budget: Budget) -> list[Reaped]:
    """Ends the attempts whose lease has run out; does nothing while another process is at it."""
    if not session.execute(select(func.pg_try_advisory_xact_lock(LOCK))).scalar_one():
        return []
    statement = (
        select(LeaseRow.experiment_id, LeaseRow.attempt)
        .where(LeaseRow.lease_until < now())
        .order_by(LeaseRow.lease_until)
        .limit(MOST)
    )
    reaped = []
    # Locked in the order of ids, as a sweep's members are when it is cancelled: neither waits for the other.
    for experiment_id, attempt in sorted((row.experiment_id, row.attempt) for row in session.execute(statement)):
        # Looked at again under locks: the experiment may have ended, or the heartbeat come, in between.
        status = lose(session, experiment_id, attempt, LOST, budget, expired=True)
        if status is not None:
            reaped.append(Reaped(experiment_id, attempt, status))
    return reaped
