"""What is known of sweeps: one with all its members, a page of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, case, exists, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Row
from sqlalchemy.orm import Session, aliased, defer

from core.errors import NotFound
from core.status import Status
from core.store.listing import Filters, Position, filtered, paged
from core.store.tables import ExperimentRow, SweepMemberRow, SweepRow


class MemberReading(NamedTuple):
    """The newest trial of a member."""

    member: int
    trial: int
    parameters: dict[str, Any]
    experiment_id: UUID
    status: Status
    version: int
    hyperiteration: int
    hyperiterations: int
    error: dict[str, Any] | None
    spec: dict[str, Any]
    selection: dict[str, Any] | None
    """From the result, as the next three."""
    best: dict[str, Any] | None
    test: dict[str, Any] | None
    data: dict[str, Any] | None
    values: dict[str, Any]
    """Path -> the number in the result, or a text; None: there is neither."""


class Standing(NamedTuple):
    """How far the members of a sweep are, their newest trials."""

    counts: Mapping[Status, int]
    """Members by state; a state that none is in is missing."""
    hyperiteration: int
    """Hyperiterations that are done, over all members."""
    hyperiterations: int
    """Hyperiterations that are asked for."""


class SweepReading(NamedTuple):
    """A sweep and its members by number."""

    row: SweepRow
    members: list[MemberReading]
    version: int
    """Rises with every change of a member."""

    @property
    def standing(self) -> Standing:
        """How far the members are."""
        done = sum(each.hyperiteration for each in self.members)
        asked = sum(each.hyperiterations for each in self.members)
        return Standing(Counter(each.status for each in self.members), done, asked)


def get(session: Session, sweep_id: UUID, paths: Sequence[str] = ()) -> SweepReading:
    """One sweep with the newest trials of its members.

    Args:
        session: of the transaction.
        sweep_id: which sweep.
        paths: dotted places in the results whose numbers are read, too.

    Raises:
        NotFound: there is no such sweep.
    """
    row = session.get(SweepRow, sweep_id)
    if row is None:
        raise NotFound("There is no such sweep.")
    trials = _trials(session, sweep_id, paths)
    newest = {each.member: each for each in trials}  # of those of a member the last remains
    return SweepReading(row, list(newest.values()), sum(each.version for each in trials))


def version(session: Session, sweep_id: UUID) -> int:
    """The sum of its experiments' versions, which rises with every change of a member and with every retry.

    Raises:
        NotFound: there is no such sweep.
    """
    statement = (
        select(func.sum(ExperimentRow.version))
        .join(SweepMemberRow, SweepMemberRow.experiment_id == ExperimentRow.id)
        .where(SweepMemberRow.sweep_id == sweep_id)
    )
    found = session.scalar(statement)
    if found is None:
        raise NotFound("There is no such sweep.")
    return int(found)


def page(session: Session, filters: Filters, *, after: Position | None, size: int) -> list[tuple[SweepRow, Standing]]:
    """The next `size` sweeps that pass the filters, newest first, after a position; without their specs."""
    statement = select(SweepRow).options(defer(SweepRow.spec, raiseload=True))
    statement = paged(filtered(statement, SweepRow, filters), SweepRow, after=after, size=size)
    rows = session.scalars(statement).all()
    standings = _standings(session, [row.id for row in rows])
    return [(row, standings[row.id]) for row in rows]


def is_newest() -> ColumnElement[bool]:
    """Whether the row is the newest trial of its member."""
    newer = aliased(SweepMemberRow)
    same = (newer.sweep_id == SweepMemberRow.sweep_id) & (newer.member == SweepMemberRow.member)
    return ~exists().where(same, newer.trial > SweepMemberRow.trial)


def _trials(session: Session, sweep_id: UUID, paths: Sequence[str]) -> list[MemberReading]:
    """Every trial of every member, the trials of a member in order."""
    experiment, member = ExperimentRow, SweepMemberRow
    parts = [experiment.result[part] for part in ("selection", "best", "test", "data")]
    statement = (
        select(
            *(member.member, member.trial, member.parameters, member.experiment_id),
            *(experiment.status, experiment.version, experiment.hyperiteration, experiment.hyperiterations),
            *(experiment.error, experiment.spec),
            *parts,
            *map(_value, paths),
        )
        .join(experiment, experiment.id == member.experiment_id)
        .where(member.sweep_id == sweep_id)
        .order_by(member.member, member.trial)
    )
    return [_member(found, paths) for found in session.execute(statement)]


def _value(path: str) -> ColumnElement[Any]:
    """What stands at a path in a result; neither objects nor lists, which may be large."""
    found = func.jsonb_extract_path(ExperimentRow.result, *path.split("."), type_=JSONB)
    return case((func.jsonb_typeof(found).in_(["number", "string"]), found))


def _member(found: Row[Any], paths: Sequence[str]) -> MemberReading:
    own = len(found) - len(paths)
    values = dict(zip(paths, found[own:], strict=True))
    return MemberReading._make((*found[:own], values))._replace(status=Status(found.status))


def _standings(session: Session, sweeps: Sequence[UUID]) -> dict[UUID, Standing]:
    newest = (
        select(
            SweepMemberRow.sweep_id, ExperimentRow.status, ExperimentRow.hyperiteration, ExperimentRow.hyperiterations
        )
        .join(ExperimentRow, ExperimentRow.id == SweepMemberRow.experiment_id)
        .where(SweepMemberRow.sweep_id.in_(sweeps), is_newest())
        .subquery()
    )
    sums = (func.count(), func.sum(newest.c.hyperiteration), func.sum(newest.c.hyperiterations))
    statement = select(newest.c.sweep_id, newest.c.status, *sums).group_by(newest.c.sweep_id, newest.c.status)
    found = {each: Standing({}, 0, 0) for each in sweeps}
    for sweep_id, status, *numbers in session.execute(statement):
        count, done, asked = map(int, numbers)
        counts, before, before_asked = found[sweep_id]
        found[sweep_id] = Standing({**counts, Status(status): count}, before + done, before_asked + asked)
    return found
