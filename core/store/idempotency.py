"""What is submitted twice with one key is stored once."""

import hashlib
from collections.abc import Callable
from typing import Literal, NamedTuple
from uuid import UUID

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from core.errors import IdempotencyConflict
from core.store.tables import IdempotencyRow

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
    session: Session, route: Route, key: IdempotencyKey | None, body_sha256: str, store: Callable[[], UUID]
) -> Submission:
    """Stores what was submitted, unless it was before with the same key.

    Args:
        session: an open transaction.
        route: what is submitted; every route has its own keys.
        key: None: it is stored in any case.
        body_sha256: what tells two bodies apart, hexadecimal.
        store: stores it and returns its id.

    Raises:
        IdempotencyConflict: the key was used with another body.
    """
    if key is None:
        return Submission(store(), created=True)
    # Two submissions with one key take turns; the lock goes with the transaction.
    session.execute(select(func.pg_advisory_xact_lock(_lock_number(route, key))))
    column = IdempotencyRow.experiment_id if route == "experiments" else IdempotencyRow.sweep_id
    earlier = session.execute(
        select(IdempotencyRow.body_sha256, column.label("id")).where(
            IdempotencyRow.caller == key.caller, IdempotencyRow.route == route, IdempotencyRow.key == key.key
        )
    ).one_or_none()
    body = bytes.fromhex(body_sha256)
    if earlier is not None:
        if earlier.body_sha256 != body:
            raise IdempotencyConflict
        return Submission(earlier.id, created=False)
    stored = store()
    session.execute(
        insert(IdempotencyRow).values(
            caller=key.caller, route=route, key=key.key, body_sha256=body, **{column.key: stored}
        )
    )
    return Submission(stored, created=True)


def _lock_number(route: Route, key: IdempotencyKey) -> int:
    digest = hashlib.sha256(f"{key.caller}\n{route}\n{key.key}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
