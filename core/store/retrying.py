"""A transaction that outlives a short outage of the database."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from core.errors import DatabaseUnreachable
from core.store.engine import UNAVAILABLE, transaction

logger = logging.getLogger(__name__)

T = TypeVar("T")

PAUSE_SECONDS = 0.5
"""Wait before the second try; doubles up to ten times this."""


def retrying(engine: Engine, action: Callable[[Session], T], *, patience: float) -> T:
    """Runs `action` in a transaction, again and again while the database cannot be reached.

    Args:
        engine: connections.
        action: must be safe to repeat: a commit whose answer was lost is repeated too.
        patience: seconds after which to give up; 0: one try.

    Raises:
        DatabaseUnreachable: the patience is spent.
    """
    deadline = time.monotonic() + patience
    pause = PAUSE_SECONDS
    while True:
        try:
            with transaction(engine) as session:
                return action(session)
        except UNAVAILABLE as error:
            reason = what_failed(error)
            if time.monotonic() + pause > deadline:
                raise DatabaseUnreachable(
                    f"The database did not answer for {patience:g} s: {reason}"
                    if patience
                    else f"No database: {reason}"
                ) from error
        logger.warning("database unreachable, trying again in %.1f s: %s", pause, reason)
        time.sleep(pause)
        pause = min(2 * pause, 10 * PAUSE_SECONDS)


def what_failed(error: Exception) -> str:
    """The first line of what the driver says, without the statement that SQLAlchemy adds."""
    text = str(getattr(error, "orig", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__
