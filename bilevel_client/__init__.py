"""The public Python client and the `bilevel` command; speaks HTTP only."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bilevel_client.client import Client
    from bilevel_client.errors import (
        Conflict,
        Invalid,
        NotFound,
        ServerFault,
        ServiceError,
        StillRunning,
        Unauthorized,
        Unreachable,
    )
    from bilevel_client.records import Curves, Event, Series

__all__ = [
    "Client",
    "Conflict",
    "Curves",
    "Event",
    "Invalid",
    "NotFound",
    "Series",
    "ServerFault",
    "ServiceError",
    "StillRunning",
    "Unauthorized",
    "Unreachable",
]

_CLIENT = {"Client", "Curves", "Event", "Series"}


def __getattr__(name: str) -> Any:
    """Loads a name when it is first used, so that `bilevel --help` need not wait for the HTTP library."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _CLIENT:
        from bilevel_client import client as module
    else:
        from bilevel_client import errors as module  # type: ignore[no-redef]
    return getattr(module, name)
