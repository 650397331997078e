"""A spec becomes a row: once, whatever the caller repeats."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import insert
from sqlalchemy.orm import Session

from core.spec import Experiment
from core.store.changes import append_events, notify
from core.store.idempotency import IdempotencyKey, Submission, once
from core.store.references import check_references
from core.store.tables import ExperimentRow


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

    def store() -> UUID:
        check_references(session, spec)
        return insert_queued(session, [columns(spec)])[0]

    return once(session, "experiments", key, spec, store)


def columns(spec: Experiment) -> dict[str, Any]:
    """What the row of an experiment says that nobody has run so far."""
    return {
        "name": spec.name,
        "labels": spec.labels,
        "kind": spec.problem.kind,
        "spec": spec.canonical(),
        "spec_sha256": spec.sha256(),
        "device": spec.resources.device,
        "priority": spec.resources.priority,
        "hyperiterations": spec.algorithm.hyperiterations,
    }


def insert_queued(session: Session, rows: Sequence[dict[str, Any]]) -> list[UUID]:
    """Stores rows as `queued`, each with its first event; returns their ids, which rise."""
    # Of the same priority and moment, the lower id is claimed first: they run in this order.
    ids = sorted(uuid4() for _ in rows)
    session.execute(insert(ExperimentRow), [{"id": each, **row} for each, row in zip(ids, rows, strict=True)])
    append_events(session, dict.fromkeys(ids, 1), "queued", {})
    notify(session, *ids)
    return ids
