"""NOTIFY from Postgres as an asynchronous stream: which experiment has changed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from psycopg import AsyncConnection, OperationalError
from sqlalchemy.engine import make_url

from core.store.changes import CHANNEL
from core.store.engine import REACHABLE

Disconnected = OperationalError
"""What listening raises when the server cannot be reached or goes away."""


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[AsyncIterator[UUID]]:
    """Ids of experiments as they change; every change committed after the block is entered is told.

    Args:
        url: the database's `postgresql://` URL.

    Raises:
        Disconnected: on entering, or from the stream later.
    """
    connection = await AsyncConnection.connect(
        make_url(url).set(drivername="postgresql").render_as_string(hide_password=False),
        autocommit=True,
        application_name="bilevel-listen",
        connect_timeout=10,
        **REACHABLE,
    )
    async with connection:
        await connection.execute(f"LISTEN {CHANNEL}".encode())
        yield (UUID(notification.payload) async for notification in connection.notifies())
