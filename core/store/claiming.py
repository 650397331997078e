"""A slot takes the best experiment that it can run: one row, once."""

from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from core.status import Status
from core.store.changes import change, in_status
from core.store.clock import later, now
from core.store.finishing import LONGEST_BACKOFF_SECONDS
from core.store.tables import AttemptRow, ExperimentRow, LeaseRow


class Claim(NamedTuple):
    """An experiment and the attempt under which it is held."""

    experiment_id: UUID
    attempt: int
    spec: dict[str, Any]
    device: str
    """Where it is to run: `cpu` or, for example, `cuda:0`."""


def claim(session: Session, *, slot: str, device: str, lease_seconds: float) -> Claim | None:
    """Makes the best queued experiment `running` under a new attempt with a lease.

    The best is the one of the highest priority, then the oldest; rows that others are claiming are passed over.

    Args:
        session: an open transaction.
        slot: who asks.
        device: device of the slot; a `cuda` slot runs experiments for the CPU too.
        lease_seconds: how long the attempt holds it without a heartbeat.

    Returns:
        What was claimed, or None if there is nothing for this slot.
    """
    kinds = ["auto", "cpu"] if device == "cpu" else ["auto", "cpu", "cuda"]
    found = session.execute(
        select(ExperimentRow.id, ExperimentRow.attempt, ExperimentRow.spec, ExperimentRow.device)
        .where(
            _is_due(),
            ExperimentRow.device.in_(kinds),
        )
        .order_by(ExperimentRow.priority.desc(), ExperimentRow.created_at, ExperimentRow.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if found is None:
        return None
    claimed = Claim(found.id, found.attempt + 1, found.spec, "cpu" if found.device == "cpu" else device)
    change(
        session,
        claimed.experiment_id,
        in_status(Status.QUEUED),
        event="started",
        data={"attempt": claimed.attempt, "slot": slot, "device": claimed.device},
        status=Status.RUNNING,
        attempt=claimed.attempt,
        started_at=func.coalesce(ExperimentRow.started_at, now()),
    )
    session.execute(
        insert(AttemptRow).values(
            experiment_id=claimed.experiment_id, number=claimed.attempt, slot=slot, device=claimed.device
        )
    )
    lease = {"attempt": claimed.attempt, "slot": slot, "lease_until": later(lease_seconds)}
    session.execute(
        upsert(LeaseRow)
        .values(experiment_id=claimed.experiment_id, **lease)
        .on_conflict_do_update(index_elements=[LeaseRow.experiment_id], set_=lease)
    )
    return claimed


def due(session: Session, *, limit: int) -> int:
    """How many queued experiments could be claimed now, counted up to a limit."""
    waiting = select(ExperimentRow.id).where(_is_due()).limit(limit).subquery()
    return session.execute(select(func.count()).select_from(waiting)).scalar_one()


def _is_due() -> ColumnElement[bool]:
    """Queued, and no backoff holds it; one that ends later than any can was granted by a clock that was set back."""
    longest = later(LONGEST_BACKOFF_SECONDS)
    available = ExperimentRow.available_at
    return in_status(Status.QUEUED) & ((ExperimentRow.losses == 0) | (available <= now()) | (available > longest))
