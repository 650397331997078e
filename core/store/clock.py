"""The database's clock: the only one that decides."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, DateTime, func, select
from sqlalchemy.orm import Session


def now() -> ColumnElement[datetime]:
    """The time on the database's clock when the statement is executed, not when the transaction began."""
    return func.clock_timestamp(type_=DateTime(timezone=True))


def later(seconds: float) -> ColumnElement[datetime]:
    """That time, some seconds on."""
    return now() + timedelta(seconds=seconds)


def read(session: Session) -> datetime:
    """What that clock shows."""
    return session.execute(select(now())).scalar_one()
