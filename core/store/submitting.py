"""A spec becomes a row: once, whatever the caller repeats."""

import hashlib
from typing import NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from core.errors import IdempotencyConflict
from core.spec import Experiment
from core.store.changes import append_event, notify
from core.store.references import check_references
from core.store.tables import ExperimentRow, IdempotencyRow


class IdempotencyKey(NamedTuple):
    """Who says that a submission is the same as an earlier one, and by which key."""

    caller: str
    key: str


class Submission(NamedTuple):
    """What became of a submission."""

    experiment_id: UUID
    created: bool
    """False: the key was used before with the same body, and this is the experiment of that time."""


def submit(session: Session, spec: Experiment, key: IdempotencyKey | None = None) -> Submission:
    """Stores an experiment as `queued`, with its first event, and tells the listeners.

    Args:
        session: an open transaction.
        spec: what to run.
        key: if given, a second submission with the same key and the same spec stores nothing.

    Raises:
        IdempotencyConflict: the key was used with another spec.
        ReferenceInvalid: another experiment has not what the spec asks of it.
    """
    check_references(session, spec)
    if key is None:
        return Submission(_insert(session, spec), created=True)
    # Two submissions with one key take turns; the lock goes with the transaction.
    session.execute(select(func.pg_advisory_xact_lock(_lock_number(key))))
    earlier = session.get(IdempotencyRow, key)
    body = bytes.fromhex(spec.sha256())
    if earlier is not None:
        if earlier.body_sha256 != body:
            raise IdempotencyConflict
        return Submission(earlier.experiment_id, created=False)
    experiment_id = _insert(session, spec)
    session.execute(
        insert(IdempotencyRow).values(caller=key.caller, key=key.key, body_sha256=body, experiment_id=experiment_id)
    )
    return Submission(experiment_id, created=True)


def _insert(session: Session, spec: Experiment) -> UUID:
    experiment_id = uuid4()
    session.execute(
        insert(ExperimentRow).values(
            id=experiment_id,
            name=spec.name,
            labels=spec.labels,
            kind=spec.problem.kind,
            spec=spec.canonical(),
            spec_sha256=spec.sha256(),
            device=spec.resources.device,
            priority=spec.resources.priority,
            hyperiterations=spec.algorithm.hyperiterations,
        )
    )
    append_event(session, experiment_id, 1, "queued", {})
    notify(session, experiment_id)
    return experiment_id


def _lock_number(key: IdempotencyKey) -> int:
    digest = hashlib.sha256(f"{key.caller}\n{key.key}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
