"""Heartbeats: an attempt holds its experiment until a time on the database's clock."""

from uuid import UUID

from sqlalchemy import update
from sqlalchemy.orm import Session

from core.status import Status
from core.store.changes import held_by
from core.store.clock import later
from core.store.tables import ExperimentRow, LeaseRow


def renew(session: Session, experiment_id: UUID, attempt: int, *, lease_seconds: float) -> Status | None:
    """Renews the attempt's lease and reads, in the same statement, whether it is to stop.

    A lease that has run out may be renewed as long as nobody has taken the experiment away.

    Returns:
        `running` or `cancelling`; None: the attempt is fenced, and may write nothing more.
    """
    statement = (
        update(LeaseRow)
        .where(
            LeaseRow.experiment_id == experiment_id,
            LeaseRow.attempt == attempt,
            ExperimentRow.id == LeaseRow.experiment_id,
            held_by(attempt),
        )
        .values(lease_until=later(lease_seconds))
        .returning(ExperimentRow.status)
        .execution_options(synchronize_session=False)
    )
    status = session.execute(statement).scalar_one_or_none()
    return None if status is None else Status(status)
