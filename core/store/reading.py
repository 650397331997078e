"""What is known of experiments: one, a page of them, their events and artifacts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, any_, func, select
from sqlalchemy.orm import Session, defer

from core.errors import NotFound
from core.status import ACTIVE, Status
from core.store.listing import Filters, Position, filtered, paged
from core.store.tables import ArtifactRow, AttemptRow, CurveChunkRow, EventRow, ExperimentRow, SweepMemberRow

RECENT_CHUNKS = 20
"""Chunks of the series `seconds` from which the time to come is estimated."""


class Reading(NamedTuple):
    """An experiment's row, without its result."""

    row: ExperimentRow
    seconds: float | None
    """Mean seconds of the latest hyperiterations of the current attempt, while one runs."""
    sweep: SweepMemberRow | None
    """Of which sweep it is a member."""
    lost: dict[str, Any] | None
    """Why its last attempt was lost, while it is queued to be tried again."""


@dataclass(frozen=True)
class ExperimentFilters(Filters):
    """Which experiments."""

    statuses: Sequence[Status] = ()
    kinds: Sequence[str] = ()
    sweep: UUID | None = None
    """Members of this sweep, all their trials."""
    in_sweep: bool | None = None
    """Members of some sweep, or of none."""


def get(session: Session, experiment_id: UUID) -> Reading:
    """One experiment.

    Raises:
        NotFound: there is no such experiment.
    """
    found = session.execute(_readings().where(ExperimentRow.id == experiment_id)).one_or_none()
    if found is None:
        raise NotFound
    return Reading._make(found)


def page(session: Session, filters: ExperimentFilters, *, after: Position | None, size: int) -> list[Reading]:
    """The next `size` experiments that pass the filters, newest first, after a position."""
    statement = paged(_filtered(_readings(), filters), ExperimentRow, after=after, size=size)
    return [Reading._make(found) for found in session.execute(statement)]


def version(session: Session, experiment_id: UUID) -> int:
    """The experiment's version, which rises with every change.

    Raises:
        NotFound: there is no such experiment.
    """
    found = session.scalar(select(ExperimentRow.version).where(ExperimentRow.id == experiment_id))
    if found is None:
        raise NotFound
    return found


class Outcome(NamedTuple):
    """Where an experiment stands, and its result if it has succeeded."""

    status: Status
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    version: int


def outcome(session: Session, experiment_id: UUID) -> Outcome:
    """What the experiment reached.

    Raises:
        NotFound: there is no such experiment.
    """
    columns = (ExperimentRow.status, ExperimentRow.result, ExperimentRow.error, ExperimentRow.version)
    found = session.execute(select(*columns).where(ExperimentRow.id == experiment_id)).one_or_none()
    if found is None:
        raise NotFound
    return Outcome(Status(found.status), found.result, found.error, found.version)


EVENTS_AT_A_TIME = 1000


def events(session: Session, experiment_id: UUID, *, after: int) -> Sequence[EventRow]:
    """The next stored events after a version, oldest first, at most `EVENTS_AT_A_TIME`."""
    statement = (
        select(EventRow)
        .where(EventRow.experiment_id == experiment_id, EventRow.version > after)
        .order_by(EventRow.version)
        .limit(EVENTS_AT_A_TIME)
    )
    return session.scalars(statement).all()


def artifacts(session: Session, experiment_id: UUID) -> Sequence[ArtifactRow]:
    """The experiment's artifacts by name.

    Raises:
        NotFound: there is no such experiment.
    """
    version(session, experiment_id)
    statement = select(ArtifactRow).where(ArtifactRow.experiment_id == experiment_id).order_by(ArtifactRow.name)
    return session.scalars(statement).all()


def artifact(session: Session, experiment_id: UUID, name: str) -> ArtifactRow:
    """One artifact.

    Raises:
        NotFound: there is no such experiment or artifact; the message lists those there are.
    """
    found = artifacts(session, experiment_id)
    for row in found:
        if row.name == name:
            return row
    names = ", ".join(f"`{row.name}`" for row in found) or "none so far"
    raise NotFound(f"The experiment has no artifact `{name}`; there are: {names}.")


def _readings() -> Select[Any]:
    latest = (
        select(CurveChunkRow.points)
        .where(
            CurveChunkRow.experiment_id == ExperimentRow.id,
            CurveChunkRow.series == "seconds",
            CurveChunkRow.attempt == ExperimentRow.attempt,
            ExperimentRow.status.in_(ACTIVE),
        )
        .order_by(CurveChunkRow.first.desc())
        .limit(RECENT_CHUNKS)
        .correlate(ExperimentRow)
        .subquery()
    )
    values = select(func.unnest(latest.c.points).label("seconds")).subquery()
    mean = select(func.avg(values.c.seconds)).scalar_subquery()
    lost = (
        select(AttemptRow.error)
        .where(
            AttemptRow.experiment_id == ExperimentRow.id,
            AttemptRow.number == ExperimentRow.attempt,
            AttemptRow.outcome == "lost",
            ExperimentRow.status == Status.QUEUED,
        )
        .correlate(ExperimentRow)
        .scalar_subquery()
    )
    return (
        select(ExperimentRow, mean, SweepMemberRow, lost)
        .outerjoin(SweepMemberRow, SweepMemberRow.experiment_id == ExperimentRow.id)
        .options(defer(ExperimentRow.result, raiseload=True))
    )


def _filtered(statement: Select[Any], filters: ExperimentFilters) -> Select[Any]:
    if filters.statuses:
        statement = statement.where(ExperimentRow.status.in_(filters.statuses))
    if filters.kinds:
        statement = statement.where(ExperimentRow.kind.in_(filters.kinds))
    if filters.sweep is not None:
        # As an array, so that these rows are looked up: else all experiments might be, from the newest on.
        members = select(SweepMemberRow.experiment_id).where(SweepMemberRow.sweep_id == filters.sweep)
        statement = statement.where(ExperimentRow.id == any_(func.array(members.scalar_subquery())))
    if filters.in_sweep is not None:
        alone = SweepMemberRow.experiment_id.is_(None)  # _readings has joined it
        statement = statement.where(~alone if filters.in_sweep else alone)
    return filtered(statement, ExperimentRow, filters)
