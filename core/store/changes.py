"""Every change of an experiment's row: guarded, numbered, told. Nothing else updates `experiments`."""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Text, delete, func, insert, literal, select, update
from sqlalchemy.orm import Session

from core.status import ACTIVE, PREDECESSORS, Status
from core.store.tables import CheckpointRow, EventRow, ExperimentRow

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
    return change_all(session, [experiment_id], guard, event=event, data=data, **columns).get(experiment_id)


def change_all(
    session: Session,
    experiment_ids: Collection[UUID],
    guard: ColumnElement[bool],
    *,
    event: str | None = None,
    data: Mapping[str, Any] | None = None,
    **columns: Any,
) -> dict[UUID, int]:
    """The same change of several rows, each under the guard; returns the new versions of those that were changed."""
    if "status" in columns:
        guard &= in_status(*PREDECESSORS[Status(columns["status"])])
    statement = (
        update(ExperimentRow)
        .where(ExperimentRow.id.in_(experiment_ids), guard)
        .values(version=ExperimentRow.version + 1, **columns)
        .returning(ExperimentRow.id, ExperimentRow.version)
        .execution_options(synchronize_session=False)
    )
    versions = {found.id: found.version for found in session.execute(statement)}
    if event is not None:
        append_events(session, versions, event, data or {})
    if "status" in columns and Status(columns["status"]).terminal:  # nobody goes on from there; files are swept in time
        session.execute(delete(CheckpointRow).where(CheckpointRow.experiment_id.in_(versions)))
    if versions:
        notify(session, *versions)
    return versions


def notify(session: Session, *experiment_ids: UUID) -> None:
    """Tells the listeners, when the transaction commits, that experiments have changed."""
    ids = func.unnest(literal(list(map(str, experiment_ids)), ARRAY(Text)), type_=Text).column_valued("id")
    session.execute(select(func.pg_notify(CHANNEL, ids)))


def append_events(session: Session, versions: Mapping[UUID, int], kind: str, data: Mapping[str, Any]) -> None:
    """Stores an event of several experiments, under the version that each one's row was given."""
    events = [
        {"experiment_id": experiment_id, "version": version, "kind": kind, "data": dict(data)}
        for experiment_id, version in versions.items()
    ]
    if events:
        session.execute(insert(EventRow), events)
