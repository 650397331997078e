"""What an experiment reached, and the files it made."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Response
from fastapi.responses import FileResponse, JSONResponse

from api import schemas
from api.deps import Caller, ExperimentId, Uses, etag, matches
from api.errors import Refusal
from core.status import Status
from core.store import reading
from core.store.blobs import Blobs
from core.store.engine import transaction

router = APIRouter(tags=["results"])

RESULT_EXAMPLE = {
    "best": {"hyperiteration": 90, "validation": {"accuracy": {"mean": 0.93, "ci95": 0.024, "examples": 400}}},
    "final": {
        "hyperiteration": 100,
        "validation": {"accuracy": {"mean": 0.928, "ci95": 0.025, "examples": 400}},
        "test": {"accuracy": {"mean": 0.931, "ci95": 0.02, "examples": 597}},
    },
    "test": {"accuracy": {"mean": 0.933, "ci95": 0.02, "examples": 597}},
    "report": {},
    "timing": {"total_seconds": 12.1, "seconds_per_hyperiteration": 0.11, "evaluation_seconds": 0.4},
    "memory": {"peak_mb": 310.2},
    "environment": {"python": "3.11.7", "torch": "2.13.0", "device": "cpu", "threads": 2},
    "data": {"kind": "digits", "sha256": "a256f4f6aa8921b5e4d27a19b47c324dfa2abb1dd65891d2e2eadd5ccc9b5612"},
    "spec_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}
RESULT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Accuracies are fractions; non-finite numbers are the strings NaN, Infinity and -Infinity.",
        "content": {"application/json": {"schema": {"type": "object"}, "example": RESULT_EXAMPLE}},
    },
    409: {"description": "It has not succeeded, or not yet.", "model": schemas.Problem},
}
CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
    304: {"description": "It is the file that `If-None-Match` says."},
}
IfNoneMatch = Annotated[str | None, Header(description="The ETag of an earlier answer.")]


@router.get(
    "/experiments/{experiment_id}/result",
    operation_id="get_result",
    response_class=JSONResponse,
    response_model=None,
    responses=RESULT,
)
def result(experiment_id: ExperimentId, uses: Uses, caller: Caller) -> JSONResponse:
    """The result of an experiment that has succeeded: metrics with their 95 % intervals, timings, environment."""
    with transaction(uses.engine) as session:
        outcome = reading.outcome(session, experiment_id)
    if outcome.result is not None:
        return JSONResponse(outcome.result, headers={"ETag": etag(outcome.version)})
    status = outcome.status
    if not status.terminal:
        detail = f"The experiment is {status}: there is a result once it has succeeded."
        raise Refusal(409, "not_finished", detail, headers={"Retry-After": "1"}, experiment_status=status)
    why = f" ({outcome.error['message']})" if status is Status.FAILED and outcome.error else ""
    verb = "has failed" if status is Status.FAILED else "was cancelled"
    detail = f"The experiment {verb} and has no result{why}; its curves are there."
    raise Refusal(409, "no_result", detail, experiment_status=status)


@router.get("/experiments/{experiment_id}/artifacts", operation_id="list_artifacts")
def artifacts(experiment_id: ExperimentId, uses: Uses, caller: Caller) -> schemas.Artifacts:
    """The files that the experiment made, such as the outer variables that were best on validation data."""
    with transaction(uses.engine) as session:
        rows = reading.artifacts(session, experiment_id)
    return schemas.Artifacts(artifacts=[schemas.artifact(row) for row in rows])


@router.head("/experiments/{experiment_id}/artifacts/{name}", response_model=None, include_in_schema=False)
@router.get(
    "/experiments/{experiment_id}/artifacts/{name}",
    operation_id="get_artifact",
    response_class=FileResponse,
    response_model=None,
    responses=CONTENT,
)
def artifact(
    experiment_id: ExperimentId,
    name: Annotated[str, Path(max_length=200, description="Name of the artifact.")],
    uses: Uses,
    caller: Caller,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The content of an artifact; safetensors files hold named tensors and no code."""
    with transaction(uses.engine) as session:
        row = reading.artifact(session, experiment_id, name)
    tag = etag(row.sha256)
    if matches(if_none_match, tag):
        return Response(status_code=304, headers={"ETag": tag})
    path = Blobs(uses.settings.storage_dir).path(row.sha256)
    if not path.is_file():
        detail = f"The file of artifact `{name}` is not in the service's storage: BILEVEL_STORAGE_DIR has to be shared."
        raise Refusal(500, "artifact_lost", detail)
    return FileResponse(path, media_type=row.media_type, filename=row.name, headers={"ETag": tag})
