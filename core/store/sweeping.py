"""Sweeps change: submitted with all their members at once, cancelled, retried."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from core.errors import NotFound, ReferenceInvalid
from core.spec import Sweep
from core.spec.grids import described
from core.spec.sweep import Member
from core.status import Status
from core.store.changes import change_all, in_status
from core.store.clock import now
from core.store.idempotency import IdempotencyKey, Submission, once
from core.store.references import check_references
from core.store.submitting import columns, insert_queued
from core.store.sweep_reading import is_newest
from core.store.tables import ExperimentRow, SweepMemberRow, SweepRow

COPIED = ("name", "labels", "kind", "spec", "spec_sha256", "device", "priority", "hyperiterations")
"""Columns that a retried member's new experiment has from the old one."""


class Newest(NamedTuple):
    """The newest trial of a member."""

    member: int
    trial: int
    experiment_id: UUID
    parameters: dict[str, Any]
    status: Status


def submit_sweep(session: Session, sweep: Sweep, key: IdempotencyKey | None = None) -> Submission:
    """Stores a sweep and all its members, each an experiment that is `queued`.

    Args:
        session: an open transaction.
        sweep: what to run.
        key: if given, a second submission with the same key and the same sweep stores nothing.

    Raises:
        IdempotencyConflict: the key was used with another sweep.
    """
    return once(session, "sweeps", key, sweep, lambda: _insert(session, sweep))


def cancel_sweep(session: Session, sweep_id: UUID) -> int:
    """Cancels every member that has not ended; one that runs is asked to stop. Safe to repeat.

    Returns:
        How many it was that had neither ended nor been asked to stop.

    Raises:
        NotFound: there is no such sweep.
    """
    ids = [found.experiment_id for found in _newest(session, sweep_id)]
    # Locked in one order, so that no claim comes between the two changes and no two sweeps wait for each other.
    session.execute(
        select(ExperimentRow.id).where(ExperimentRow.id.in_(ids)).order_by(ExperimentRow.id).with_for_update()
    )
    queued, running = in_status(Status.QUEUED), in_status(Status.RUNNING)
    ended = change_all(session, ids, queued, event="cancelled", status=Status.CANCELLED, finished_at=now())
    asked = change_all(session, ids, running, event="cancelling", status=Status.CANCELLING)
    return len(ended) + len(asked)


def retry_sweep(session: Session, sweep_id: UUID) -> int:
    """Submits every member again whose newest trial has failed or was cancelled, as an experiment of the same spec.

    Returns:
        How many members these were.

    Raises:
        NotFound: there is no such sweep.
    """
    again = [found for found in _newest(session, sweep_id) if found.status in (Status.FAILED, Status.CANCELLED)]
    if not again:
        return 0
    copied = [getattr(ExperimentRow, name) for name in COPIED]
    old = select(ExperimentRow.id, *copied).where(ExperimentRow.id.in_([found.experiment_id for found in again]))
    rows = {row.id: {name: getattr(row, name) for name in COPIED} for row in session.execute(old)}
    ids = insert_queued(session, [rows[found.experiment_id] for found in again])
    _insert_members(session, sweep_id, [found._replace(trial=found.trial + 1) for found in again], ids)
    return len(again)


def check_references_of_members(session: Session, sweep: Sweep) -> None:
    """Makes sure that the files of other experiments are there.

    Raises:
        ReferenceInvalid: one is not; the pointer is into the sweep.
    """
    for member in sweep.problems():
        _check_references(session, member)


def _insert(session: Session, sweep: Sweep) -> UUID:
    check_references_of_members(session, sweep)
    sweep_id = uuid4()
    session.execute(
        insert(SweepRow).values(
            id=sweep_id,
            name=sweep.name,
            labels=sweep.labels,
            spec=sweep.canonical(),
            spec_sha256=sweep.sha256(),
            members=len(sweep.members),
        )
    )
    ids = insert_queued(session, [columns(member.experiment) for member in sweep.members])
    members = [
        Newest(number, 1, experiment_id, member.parameters, Status.QUEUED)
        for number, (member, experiment_id) in enumerate(zip(sweep.members, ids, strict=True))
    ]
    _insert_members(session, sweep_id, members, ids)
    return sweep_id


def _check_references(session: Session, member: Member) -> None:
    try:
        check_references(session, member.experiment)
    except ReferenceInvalid as error:
        if any(path.partition(".")[0] == "problem" for path in member.parameters):
            raise ReferenceInvalid(f"{described(member.parameters)}: {error}", pointer="/grid") from error
        raise ReferenceInvalid(str(error), pointer=f"/base{error.pointer}") from error


def _insert_members(session: Session, sweep_id: UUID, members: Sequence[Newest], experiments: Sequence[UUID]) -> None:
    rows = [
        {
            "sweep_id": sweep_id,
            "member": found.member,
            "trial": found.trial,
            "experiment_id": experiment_id,
            "parameters": found.parameters,
        }
        for found, experiment_id in zip(members, experiments, strict=True)
    ]
    session.execute(insert(SweepMemberRow), rows)


def _newest(session: Session, sweep_id: UUID) -> list[Newest]:
    """The newest trial of every member; the sweep's row is locked, so that it stays the newest.

    Raises:
        NotFound: there is no such sweep.
    """
    if session.scalar(select(SweepRow.id).where(SweepRow.id == sweep_id).with_for_update()) is None:
        raise NotFound("There is no such sweep.")
    statement = (
        select(
            SweepMemberRow.member,
            SweepMemberRow.trial,
            SweepMemberRow.experiment_id,
            SweepMemberRow.parameters,
            ExperimentRow.status,
        )
        .join(ExperimentRow, ExperimentRow.id == SweepMemberRow.experiment_id)
        .where(SweepMemberRow.sweep_id == sweep_id, is_newest())
        .order_by(SweepMemberRow.member)
    )
    return [Newest._make(found)._replace(status=Status(found.status)) for found in session.execute(statement)]
