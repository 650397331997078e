"""What happens to an experiment, as server-sent events: stored ones each once, progress at most once a second."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, NamedTuple
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.exceptions import HTTPException

from api import schemas
from api.deps import Caller, ExperimentId, Service, Uses
from api.watching import LONGEST_SLEEP, sleep_until
from core.status import Status
from core.store import reading
from core.store.engine import transaction
from core.store.tables import EventRow

router = APIRouter(tags=["events"])

INTERVAL = 1.0
"""Seconds between two looks at an experiment for one client."""
LARGEST = 2**53
"""Versions that a client can have are below this, which every JSON parser takes."""
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Ends after the event `succeeded`, `failed` or `cancelled`.",
        "content": {
            "text/event-stream": {
                "example": 'event: started\ndata: {"version": 2, "at": "2026-01-31T12:00:00Z", "data": {}}\nid: 2\n\n'
            }
        },
    },
    204: {"description": "The experiment has ended and you have all its events: do not connect again."},
}


class News(NamedTuple):
    """What a client has not heard yet."""

    events: Sequence[EventRow]
    now: reading.Reading


def seen(
    experiment_id: ExperimentId,
    uses: Uses,
    caller: Caller,
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", description="The `id` of the last event that you have.")
    ] = None,
    after: Annotated[
        int, Query(ge=0, le=LARGEST, description="The same as Last-Event-ID, which counts where both are given.")
    ] = 0,
) -> int:
    """The version up to which the client has the events; found before the stream begins, so that it can be refused."""
    ours = last_event_id is not None and last_event_id.isdecimal() and len(last_event_id) < len(str(LARGEST))
    last = int(last_event_id) if last_event_id is not None and ours else after
    news = look(uses, experiment_id, last)
    if Status(news.now.row.status).terminal and not news.events:
        raise HTTPException(204)
    return last


@router.get(
    "/experiments/{experiment_id}/events",
    operation_id="stream_events",
    response_class=EventSourceResponse,
    responses=STREAM,
)
async def stream(
    experiment_id: ExperimentId, uses: Uses, last: Annotated[int, Depends(seen)]
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: what has happened so far, then what happens, until the experiment ends.

    The ids are versions of the experiment. Events of the kind `progress` say how far it is; they are not stored,
    so that only the newest is sent.
    """
    with uses.watch.waiting(experiment_id) as changed:
        while True:
            news = await run_in_threadpool(look, uses, experiment_id, last)
            row = news.now.row
            for event in news.events:
                last = event.version
                yield stored(event)
            if len(news.events) == reading.EVENTS_AT_A_TIME:
                continue
            if Status(row.status).terminal:
                return
            if row.version > last:
                last = row.version
                yield progress(news.now)
            await asyncio.sleep(INTERVAL)
            await sleep_until(changed, LONGEST_SLEEP)


def look(uses: Service, experiment_id: UUID, last: int) -> News:
    """What there is after a version; the state is read before the events, so that a terminal state has them all."""
    with transaction(uses.engine) as session:
        now = reading.get(session, experiment_id)
        return News(reading.events(session, experiment_id, after=last), now)


def stored(event: EventRow) -> ServerSentEvent:
    """An event of the experiment's history."""
    content = schemas.StoredEvent(version=event.version, at=event.at, data=event.data)
    return ServerSentEvent(event=event.kind, id=str(event.version), data=content)


def progress(now: reading.Reading) -> ServerSentEvent:
    """How far the experiment is."""
    version = now.row.version
    content = schemas.ProgressEvent(version=version, status=Status(now.row.status), progress=schemas.progress(now))
    return ServerSentEvent(event="progress", id=str(version), data=content)
