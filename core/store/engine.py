"""Connections to Postgres, and the transaction as a `with` block you can see."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

__all__ = ["UNAVAILABLE", "Engine", "Session", "make_engine", "transaction"]

UNAVAILABLE: tuple[type[Exception], ...] = (OperationalError, InterfaceError, PoolTimeout)
"""What a statement raises when the server cannot be reached, goes away or has no connection left: try again."""


def make_engine(url: str, *, pool_size: int = 5, name: str = "bilevel") -> Engine:
    """An engine on a `postgresql://` URL; connections are checked before use and named in pg_stat_activity.

    Args:
        url: the database's URL; its driver is set to psycopg.
        pool_size: connections kept open (twice as many can be open for a while).
        name: application name that the server shows.
    """
    return create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        connect_args={"application_name": name, "connect_timeout": 10, "options": "-c timezone=UTC"},
    )


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """A session in one transaction: committed at the end of the block, rolled back if it raises."""
    with Session(engine, expire_on_commit=False) as session, session.begin():
        yield session
