"""Experiments: submit, list, look at, wait for, cancel."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Body, Header, Query, Response
from fastapi.concurrency import run_in_threadpool

from api import schemas
from api.accepting import Key, accept, key_of
from api.data import require_data
from api.deps import Caller, ExperimentId, Service, Uses, etag, matches
from api.listing import ListQuery, cursor_at
from api.watching import sleep_until
from core.spec import Experiment
from core.status import Status
from core.store import cancelling, reading, submitting
from core.store.engine import transaction
from core.store.listing import Position

router = APIRouter(tags=["experiments"])

SUBMITTED: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "Stored; it runs when a slot is free. `Location` is its address.",
        "links": {
            "self": {"operationId": "get_experiment", "parameters": {"experiment_id": "$response.body#/id"}},
            "cancel": {"operationId": "cancel_experiment", "parameters": {"experiment_id": "$response.body#/id"}},
            "curves": {"operationId": "get_curves", "parameters": {"experiment_id": "$response.body#/id"}},
        },
    }
}


@router.post("/experiments", status_code=202, operation_id="submit_experiment", responses=SUBMITTED)
def submit(
    spec: Annotated[Experiment, Body(openapi_examples=schemas.SPEC_EXAMPLES)],
    uses: Uses,
    caller: Caller,
    response: Response,
    background: BackgroundTasks,
    idempotency_key: Key = None,
) -> schemas.ExperimentRecord:
    """Takes an experiment: what is asked for is checked, stored, and run when a slot is free.

    Unknown fields, impossible combinations, missing data sets and files of other experiments that are not there are
    refused, each with what to change.
    """
    require_data(spec, uses.settings.data_dir)
    with transaction(uses.engine) as session:
        submission = submitting.submit(session, spec, key_of(caller, idempotency_key))
        found = reading.get(session, submission.id)
    record = schemas.experiment(found)
    created, location = submission.created, record.links.self
    accept(response, background, uses, created=created, location=location, version=record.version)
    return record


@router.get("/experiments", operation_id="list_experiments")
def list_experiments(query: Annotated[ListQuery, Query()], uses: Uses, caller: Caller) -> schemas.Page:
    """Experiments, newest first, page by page; filters of different names all have to hold."""
    with transaction(uses.engine) as session:
        found = reading.page(session, query.filters(), after=query.position(), size=query.page_size + 1)
    shown = found[: query.page_size]
    following = cursor_at(Position(shown[-1].row.created_at, shown[-1].row.id)) if len(found) > len(shown) else None
    return schemas.Page(items=[schemas.experiment(each) for each in shown], next=following)


@router.get(
    "/experiments/{experiment_id}",
    operation_id="get_experiment",
    response_model=schemas.ExperimentRecord,
    responses={304: {"description": "It is still as `If-None-Match` says."}},
)
async def get(
    experiment_id: ExperimentId,
    uses: Uses,
    caller: Caller,
    response: Response,
    wait: Annotated[float, Query(ge=0, le=60, description="Seconds to wait for a change.", examples=[30])] = 0,
    version: Annotated[
        int | None, Query(ge=0, description="Wait while the version is this one; by default that of If-None-Match.")
    ] = None,
    if_none_match: Annotated[str | None, Header(description="The ETag of an earlier answer.")] = None,
) -> schemas.ExperimentRecord | Response:
    """One experiment; with `wait`, the answer comes when it has changed, or after that time unchanged."""

    def unchanged(current: int) -> bool:
        return current == version if version is not None else matches(if_none_match, etag(current))

    if wait:
        await _changed(uses, experiment_id, unchanged, wait)
    record = schemas.experiment(await run_in_threadpool(_read, uses, experiment_id))
    tag = etag(record.version)
    if matches(if_none_match, tag):
        return Response(status_code=304, headers={"ETag": tag})
    response.headers["ETag"] = tag
    return record


@router.post(
    "/experiments/{experiment_id}:cancel",
    status_code=202,
    operation_id="cancel_experiment",
    responses={
        200: {"description": "It is cancelled.", "model": schemas.ExperimentRecord},
        202: {"description": "It runs, and the slot that runs it has been asked to stop."},
    },
)
def cancel(experiment_id: ExperimentId, uses: Uses, caller: Caller, response: Response) -> schemas.ExperimentRecord:
    """Cancels an experiment; safe to repeat. One that has succeeded or failed cannot be cancelled (409)."""
    with transaction(uses.engine) as session:
        status = cancelling.request_cancel(session, experiment_id)
        found = reading.get(session, experiment_id)
    if status is Status.CANCELLED:
        response.status_code = 200
    response.headers["ETag"] = etag(found.row.version)
    return schemas.experiment(found)


def _read(uses: Service, experiment_id: UUID) -> reading.Reading:
    with transaction(uses.engine) as session:
        return reading.get(session, experiment_id)


def _version(uses: Service, experiment_id: UUID) -> int:
    with transaction(uses.engine) as session:
        return reading.version(session, experiment_id)


async def _changed(uses: Service, experiment_id: UUID, unchanged: Callable[[int], bool], seconds: float) -> None:
    """Returns when the experiment's version is another, or after so many seconds."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    with uses.watch.waiting(experiment_id) as changed:
        while unchanged(await run_in_threadpool(_version, uses, experiment_id)) and clock() < deadline:
            await sleep_until(changed, deadline - clock())
