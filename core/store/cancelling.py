"""The wish to cancel: at once where nothing runs, else through the slot that runs it."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import Conflict, NotFound
from core.status import Status
from core.store.changes import change, in_status
from core.store.clock import now
from core.store.tables import ExperimentRow


def request_cancel(session: Session, experiment_id: UUID) -> Status:
    """Cancels a queued experiment, or asks the slot of a running one to stop it; safe to repeat.

    Returns:
        The state afterwards: `cancelled` or `cancelling`.

    Raises:
        NotFound: there is no such experiment.
        Conflict: it has succeeded or failed.
    """
    # The row is locked first, so that no claim comes between looking and changing.
    found = session.scalar(select(ExperimentRow.status).where(ExperimentRow.id == experiment_id).with_for_update())
    if found is None:
        raise NotFound
    status = Status(found)
    match status:
        case Status.QUEUED:
            status = Status.CANCELLED
            guard = in_status(Status.QUEUED)
            change(session, experiment_id, guard, event="cancelled", status=status, finished_at=now())
        case Status.RUNNING:
            status = Status.CANCELLING
            change(session, experiment_id, in_status(Status.RUNNING), event="cancelling", status=status)
        case Status.CANCELLING | Status.CANCELLED:
            pass
        case Status.SUCCEEDED | Status.FAILED:
            raise Conflict(f"The experiment has {status}: there is nothing left to cancel.")
    return status
