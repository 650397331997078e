"""A cap on the size of request bodies, counted as they arrive."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 1 << 20
"""Bytes of a body that are taken: far more than any spec needs."""


class BodyLimit:
    """ASGI middleware: reading a body that is larger than allowed raises the answer 413."""

    def __init__(self, app: ASGIApp, largest: int = LARGEST_BODY) -> None:
        self.app = app
        self.largest = largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, counting."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"")
        announced = int(length) if length.isdigit() else 0
        counted = 0

        async def counting() -> Message:
            nonlocal counted
            if announced <= self.largest:
                message = await receive()
                counted += len(message.get("body", b""))
                if counted <= self.largest:
                    return message
            raise HTTPException(413, f"The body has more than {self.largest} bytes: send a smaller one.")

        await self.app(scope, counting, send)
