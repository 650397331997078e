"""Every change of an experiment's row: guarded, numbered, told. Nothing else updates `experiments`."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.orm import Session

from core.status import ACTIVE, PREDECESSORS, Status
from core.store.tables import EventRow, ExperimentRow

CHANNEL = "bilevel_experiments"
"""NOTIFY channel; the payload is the experiment's id."""


def held_by(attempt: int) -> ColumnElement[bool]:
    """Guard: the attempt still holds the experiment. The attempt's number is the fence: it only rises."""
    return (ExperimentRow.attempt == attempt) & ExperimentRow.status.in_(ACTIVE)


def in_status(*statuses: Status) -> ColumnElement[bool]:
    """Guard: the experiment stands in one of these states."""
    return ExperimentRow.status.in_(statuses)


def change(
    session: Session,
    experiment_id: UUID,
    guard: ColumnElement[bool],
    *,
    event: str | None = None,
    data: Mapping[str, Any] | None = None,
    **columns: Any,
) -> int | None:
    """Changes an experiment's row by compare-and-set and tells the listeners when the transaction commits.

    Args:
        session: an open transaction.
        experiment_id: which experiment.
        guard: has to hold for the row, in the same statement.
        event: kind of the event that is stored with the change, if any.
        data: the event's data, plain JSON.
        **columns: new values of the row's columns; a new `status` adds the guard that it may follow the old one.

    Returns:
        The row's new version, or None if the guard did not hold (nothing was changed).
    """
    if "status" in columns:
        guard &= in_status(*PREDECESSORS[Status(columns["status"])])
    statement = (
        update(ExperimentRow)
        .where(ExperimentRow.id == experiment_id, guard)
        .values(version=ExperimentRow.version + 1, **columns)
        .returning(ExperimentRow.version)
        .execution_options(synchronize_session=False)
    )
    version = session.execute(statement).scalar_one_or_none()
    if version is None:
        return None
    if event is not None:
        append_event(session, experiment_id, version, event, data or {})
    notify(session, experiment_id)
    return version


def notify(session: Session, experiment_id: UUID) -> None:
    """Tells the listeners, when the transaction commits, that the experiment has changed."""
    session.execute(select(func.pg_notify(CHANNEL, str(experiment_id))))


def append_event(session: Session, experiment_id: UUID, version: int, kind: str, data: Mapping[str, Any]) -> None:
    """Stores an event under the version that the row's change was given."""
    session.execute(insert(EventRow).values(experiment_id=experiment_id, version=version, kind=kind, data=dict(data)))
