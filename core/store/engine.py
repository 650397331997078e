"""Connections to Postgres, and the transaction as a `with` block you can see."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

__all__ = ["UNAVAILABLE", "Engine", "Session", "is_disk_full", "make_engine", "transaction"]

UNAVAILABLE: tuple[type[Exception], ...] = (OperationalError, InterfaceError, InternalError, PoolTimeout)
"""What a statement raises when the server cannot be reached, goes away, ends a stalled transaction or has no connection
left: try again."""

DISK_FULL = "53100"
"""The SQLSTATE of a server that has no room left."""

STALL_SECONDS = 10.0
"""A process that freezes, or is cut off, in the middle of a transaction holds its locks no longer than this: nobody
else could take its experiment over. Shorter than a lease."""

REACHABLE: dict[str, Any] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""A connection whose host has gone silent is given up after 25 s without an answer, or 15 s (15 000 ms) after sending:
Linux by itself tries for a quarter of an hour to send, and waits for two hours."""


def make_engine(url: str, *, pool_size: int = 5, name: str = "bilevel", stall_seconds: float = STALL_SECONDS) -> Engine:
    """An engine on a `postgresql://` URL; connections are checked before use and named in pg_stat_activity.

    Args:
        url: the database's URL; its driver is set to psycopg.
        pool_size: connections kept open (twice as many can be open for a while).
        name: application name that the server shows.
        stall_seconds: the server ends a transaction that does nothing for so long, and a statement that waits for a
            lock for so long; 0: never.
    """
    stall = round(1000 * stall_seconds)
    options = f"-c timezone=UTC -c idle_in_transaction_session_timeout={stall} -c lock_timeout={stall}"
    return create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        connect_args={"application_name": name, "connect_timeout": 10, "options": options, **REACHABLE},
    )


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """A session in one transaction: committed at the end of the block, rolled back if it raises."""
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


def is_disk_full(error: Exception) -> bool:
    """Whether the server did not do it since it has no room left."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) == DISK_FULL
