"""What is submitted twice with one key is stored once."""

import hashlib
import json
from collections.abc import Callable
from typing import Literal, NamedTuple
from uuid import UUID

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from core.errors import IdempotencyConflict
from core.spec import Experiment, Sweep
from core.store.tables import ExperimentRow, IdempotencyRow, SweepRow

Route = Literal["experiments", "sweeps"]


class IdempotencyKey(NamedTuple):
    """Who says that a submission is the same as an earlier one, and by which key."""

    caller: str
    key: str


class Submission(NamedTuple):
    """What became of a submission."""

    id: UUID
    """Of the experiment or sweep."""
    created: bool
    """False: the key was used before with the same body, and this is what was stored at that time."""


def once(
    session: Session, route: Route, key: IdempotencyKey | None, body: Experiment | Sweep, store: Callable[[], UUID]
) -> Submission:
    """Stores what was submitted, unless it was before with the same key.

    Args:
        session: an open transaction.
        route: what is submitted; every route has its own keys.
        key: None: it is stored in any case.
        body: what is submitted.
        store: stores it and returns its id.

    Raises:
        IdempotencyConflict: the key was used with another body.
    """
    if key is None:
        return Submission(store(), created=True)
    # Two submissions with one key take turns; the lock goes with the transaction.
    session.execute(select(func.pg_advisory_xact_lock(_lock_number(route, key))))
    column = IdempotencyRow.experiment_id if route == "experiments" else IdempotencyRow.sweep_id
    row = ExperimentRow if route == "experiments" else SweepRow
    earlier = session.execute(
        select(IdempotencyRow.body_sha256, row.spec_sha256, row.id)
        .join(row, row.id == column)
        .where(IdempotencyRow.caller == key.caller, IdempotencyRow.route == route, IdempotencyRow.key == key.key)
    ).one_or_none()
    said = _said_sha256(body)
    if earlier is not None:
        # The hash of the spec knows it in other words, and is all that older versions kept.
        if earlier.body_sha256 != said and earlier.spec_sha256 != body.sha256():
            raise IdempotencyConflict
        return Submission(earlier.id, created=False)
    stored = store()
    session.execute(
        insert(IdempotencyRow).values(
            caller=key.caller, route=route, key=key.key, body_sha256=said, **{column.key: stored}
        )
    )
    return Submission(stored, created=True)


def _said_sha256(body: Experiment | Sweep) -> bytes:
    """Hash of what the body itself says: a later version may read it with other defaults."""
    content = body.model_dump(mode="json", exclude_unset=True)
    if "grid" in content:  # the order of its fields is that of the members
        content["grid"] = list(content["grid"].items())
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()


def _lock_number(route: Route, key: IdempotencyKey) -> int:
    digest = hashlib.sha256(f"{key.caller}\n{route}\n{key.key}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
