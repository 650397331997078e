"""NOTIFY from Postgres as an asynchronous stream: which experiment has changed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from psycopg import AsyncConnection, OperationalError

from core.store.changes import CHANNEL

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
        url,
        autocommit=True,
        application_name="bilevel-listen",
        connect_timeout=10,
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
    )
    async with connection:
        await connection.execute(f"LISTEN {CHANNEL}".encode())
        yield (UUID(notification.payload) async for notification in connection.notifies())
