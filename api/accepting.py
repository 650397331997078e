"""The end of every submission: the hint to the workers, and the headers of the answer."""

from typing import Annotated

from fastapi import BackgroundTasks, Header, Response

from api.deps import Service, etag
from core.store.idempotency import IdempotencyKey

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Chosen by you for this submission: sent again with the same body, nothing is stored twice.",
        examples=["0f8fad5b-d9cb-469f-a165-70867728950e"],
    ),
]


def key_of(caller: str, key: str | None) -> IdempotencyKey | None:
    """The key as the caller's own."""
    return None if key is None else IdempotencyKey(caller, key)


def accept(
    response: Response, background: BackgroundTasks, uses: Service, *, created: bool, location: str, version: int
) -> None:
    """Says where what was submitted is; rings for the workers once the answer has left, unless it was there before."""
    if created:
        background.add_task(uses.ring)
    else:
        response.headers["Idempotency-Replayed"] = "true"
    response.headers["Location"] = location
    response.headers["Retry-After"] = "1"
    response.headers["ETag"] = etag(version)
