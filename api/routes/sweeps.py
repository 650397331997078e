"""Sweeps: submit, list, look at, their members, cancel, retry."""

from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Body, Header, Query, Response

from api import sweep_schemas as schemas
from api.accepting import Key, accept, key_of
from api.data import require_data_of_member
from api.deps import Caller, SweepId, Uses, etag, matches
from api.listing import SweepListQuery, cursor_at
from api.values import ValuesQuery, require_values
from core.spec import Sweep
from core.store import sweep_reading as reading
from core.store import sweeping
from core.store.engine import transaction
from core.store.listing import Position

router = APIRouter(tags=["sweeps"])

_ID = {"sweep_id": "$response.body#/id"}
SUBMITTED: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "Stored with all its members; they run when slots are free. `Location` is its address.",
        "links": {
            "self": {"operationId": "get_sweep", "parameters": _ID},
            "members": {"operationId": "list_sweep_members", "parameters": _ID},
            "cancel": {"operationId": "cancel_sweep", "parameters": _ID},
            "retry": {"operationId": "retry_sweep", "parameters": _ID},
        },
    }
}


@router.post("/sweeps", status_code=202, operation_id="submit_sweep", responses=SUBMITTED)
def submit(
    spec: Annotated[Sweep, Body(openapi_examples=schemas.SWEEP_EXAMPLES)],
    uses: Uses,
    caller: Caller,
    response: Response,
    background: BackgroundTasks,
    idempotency_key: Key = None,
) -> schemas.SweepRecord:
    """Takes a sweep: every member is checked, then all are stored at once, each an experiment of its own.

    If one member is not possible, nothing is stored; the refusal names the value that is to blame, or the combination.
    """
    for member in spec.problems():
        require_data_of_member(member, uses.settings.data_dir)
    with transaction(uses.engine) as session:
        submission = sweeping.submit_sweep(session, spec, key_of(caller, idempotency_key))
        found = reading.get(session, submission.id)
    record = schemas.record(found)
    created, location = submission.created, record.links.self
    accept(response, background, uses, created=created, location=location, version=record.version)
    return record


@router.get("/sweeps", operation_id="list_sweeps")
def list_sweeps(query: Annotated[SweepListQuery, Query()], uses: Uses, caller: Caller) -> schemas.SweepPage:
    """Sweeps, newest first, page by page; filters of different names all have to hold."""
    with transaction(uses.engine) as session:
        found = reading.page(session, query.filters(), after=query.position(), size=query.page_size + 1)
    shown = found[: query.page_size]
    last = shown[-1][0] if len(found) > len(shown) else None
    following = cursor_at(Position(last.created_at, last.id)) if last is not None else None
    return schemas.SweepPage(items=[schemas.summary(row, standing) for row, standing in shown], next=following)


@router.get(
    "/sweeps/{sweep_id}",
    operation_id="get_sweep",
    response_model=schemas.SweepRecord,
    responses={304: {"description": "It is still as `If-None-Match` says."}},
)
def get(
    sweep_id: SweepId,
    query: Annotated[ValuesQuery, Query()],
    uses: Uses,
    caller: Caller,
    response: Response,
    if_none_match: Annotated[str | None, Header(description="The ETag of an earlier answer.")] = None,
) -> schemas.SweepRecord | Response:
    """One sweep: how far its members are, which of them is the best, and means over seeds."""
    with transaction(uses.engine) as session:
        if if_none_match is not None and matches(if_none_match, tag := etag(reading.version(session, sweep_id))):
            return Response(status_code=304, headers={"ETag": tag})
        found = reading.get(session, sweep_id, query.value)
        require_values(session, found)
    record = schemas.record(found)
    response.headers["ETag"] = etag(record.version)
    return record


@router.get("/sweeps/{sweep_id}/members", operation_id="list_sweep_members")
def members(sweep_id: SweepId, query: Annotated[ValuesQuery, Query()], uses: Uses, caller: Caller) -> schemas.Members:
    """Every member of a sweep, the newest trial of each: parameters, state, and what it reached."""
    with transaction(uses.engine) as session:
        found = reading.get(session, sweep_id, query.value)
        require_values(session, found)
    return schemas.Members(members=[schemas.member(each) for each in found.members])


@router.post(
    "/sweeps/{sweep_id}:cancel",
    status_code=202,
    operation_id="cancel_sweep",
    responses={
        200: {"description": "Every member has ended.", "model": schemas.SweepRecord},
        202: {"description": "Some members run, and the slots that run them have been asked to stop."},
    },
)
def cancel(sweep_id: SweepId, uses: Uses, caller: Caller, response: Response) -> schemas.SweepRecord:
    """Cancels every member that has not ended; safe to repeat. Those that have ended stay as they are."""
    with transaction(uses.engine) as session:
        sweeping.cancel_sweep(session, sweep_id)
        record = schemas.record(reading.get(session, sweep_id))
    if record.ended:
        response.status_code = 200
    response.headers["ETag"] = etag(record.version)
    return record


@router.post("/sweeps/{sweep_id}:retry", status_code=202, operation_id="retry_sweep")
def retry(
    sweep_id: SweepId, uses: Uses, caller: Caller, response: Response, background: BackgroundTasks
) -> schemas.Retried:
    """Submits every member again that has failed or was cancelled, as a new experiment of the same spec.

    The old experiments stay as they are. Sent again, it submits only those whose new trial has failed by then, too.
    """
    with transaction(uses.engine) as session:
        retried = sweeping.retry_sweep(session, sweep_id)
        record = schemas.record(reading.get(session, sweep_id))
    if retried:
        background.add_task(uses.ring)
    response.headers["ETag"] = etag(record.version)
    return schemas.Retried(retried=retried, sweep=record)
