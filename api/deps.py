"""What endpoints ask for: the service's parts, who calls, which experiment."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.errors import Refusal
from api.watching import Watch
from core.settings import Settings
from core.store.engine import Engine


@dataclass(frozen=True)
class Service:
    """The parts that endpoints work with; made once a process."""

    settings: Settings
    engine: Engine
    watch: Watch
    ring: Callable[[], None]
    """Sends a hint to the workers; a broker that does not answer is the reaper's business."""
    check_broker: Callable[[], None]
    """Raises BrokerUnreachable if hints cannot be sent."""


def service(request: Request) -> Service:
    """The parts of the application that this request came to."""
    found = request.app.state.service
    assert isinstance(found, Service)
    return found


Uses = Annotated[Service, Depends(service)]

_bearer = HTTPBearer(auto_error=False, description="The key in BILEVEL_API_KEY of the service, if it has one.")


THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})
"""Names by which a service without a key is reached: it listens on this machine only."""


def caller(
    request: Request, uses: Uses, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> str:
    """Who calls, for the scope of idempotency keys.

    Raises:
        Refusal: 401, the service has a key and the request has not or has another; 403, it has none, and a web page
            speaks with it under a name of its own that it has led to this machine (DNS rebinding).
    """
    expected = uses.settings.api_key
    if expected is None:
        if request.url.hostname not in THIS_MACHINE:
            detail = (
                f"Without a key this service is not `{request.url.hostname}`: set BILEVEL_API_KEY, or use 127.0.0.1."
            )
            raise Refusal(403, "unknown_host", detail)
        return "anonymous"
    key = given.credentials if given is not None else ""
    if hmac.compare_digest(key.encode(), expected.get_secret_value().encode()):
        return "key"
    detail = "This service has a key: send it as `Authorization: Bearer <key>`."
    raise Refusal(401, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})


Caller = Annotated[str, Depends(caller)]

ExperimentId = Annotated[UUID, Path(description="The experiment's id.")]
SweepId = Annotated[UUID, Path(description="The sweep's id.")]


def etag(version: object) -> str:
    """A strong entity tag."""
    return f'"{version}"'


def matches(if_none_match: str | None, tag: str) -> bool:
    """Whether the header If-None-Match holds the tag (weak comparison, RFC 9110)."""
    if if_none_match is None:
        return False
    tags = [each.strip().removeprefix("W/") for each in if_none_match.split(",")]
    return tag in tags or "*" in tags
