"""Every refusal and failure as problem+json (RFC 9457), with a code for programs and a remedy for people."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from api.pointers import SPECS, FieldError, describe
from core.errors import (
    BilevelError,
    Conflict,
    IdempotencyConflict,
    NotFound,
    ReferenceInvalid,
)
from core.spec import Experiment
from core.store.engine import UNAVAILABLE, is_disk_full

logger = logging.getLogger("api")

MEDIA_TYPE = "application/problem+json"

STATUS: dict[type[BilevelError], int] = {
    NotFound: 404,
    Conflict: 409,
    IdempotencyConflict: 422,
    ReferenceInvalid: 422,
}
"""HTTP status of the library's exceptions; any other is a fault of ours."""

CODES = {
    400: "bad_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "body_too_large",
    415: "unsupported_media_type",
}

MOST_TOLD = 100
"""Fields that one refusal describes."""


class Refusal(Exception):
    """A request that is answered with a problem; raised by endpoints and dependencies."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = headers
        self.members = members


def blaming(status: int, code: str, error: FieldError) -> Refusal:
    """A refusal for one field, which its message names, too."""
    place = error.get("pointer") or error["parameter"]
    return Refusal(status, code, f"{place}: {error['detail']}", errors=[error])


def problem(refusal: Refusal) -> JSONResponse:
    """The answer to a refused request."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(refusal.status).phrase,
        "status": refusal.status,
        "detail": refusal.detail,
        "code": refusal.code,
        **refusal.members,
    }
    if refusal.errors:
        content["errors"] = list(refusal.errors)
    return JSONResponse(content, refusal.status, refusal.headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Makes the application answer every error with a problem."""
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(BilevelError, _known)
    for kind in UNAVAILABLE:
        app.add_exception_handler(kind, _unavailable)
    app.add_exception_handler(Exception, _unknown)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return problem(error)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return problem(_malformed(str(error.body), first["loc"][1], first["ctx"]["error"]))
    if first["loc"] == ("body",) and isinstance(error.body, bytes):
        detail = "The body is not marked as JSON: send `Content-Type: application/json`."
        return problem(Refusal(415, CODES[415], detail))
    if first["loc"][0] == "path":
        what = {"sweep_id": "the id of a sweep", "name": "the name of an artifact"}
        found = what.get(str(first["loc"][1]), "the id of an experiment")
        return problem(Refusal(404, "not_found", f"`{first['input']}` is not {found}."))
    parameters = _query_parameters(request) if first["loc"][0] == "query" else ()
    spec = SPECS.get(request.scope["route"].operation_id, Experiment)
    every = error.errors()
    told = [describe(each, error.body, parameters, spec) for each in every[:MOST_TOLD]]
    where = "see `errors`" if len(told) == len(every) else f"see `errors` for the first {len(told)}"
    more = f" (and {len(every) - 1} more, {where})" if len(every) > 1 else ""
    place = told[0].get("pointer") or told[0].get("parameter") or "body"
    return problem(Refusal(422, "invalid", f"{place}: {told[0]['detail']}{more}", errors=told))


def _query_parameters(request: Request) -> list[str]:
    """Names of the query parameters that the operation has, as the OpenAPI document says."""
    operations = (operation for path in request.app.openapi()["paths"].values() for operation in path.values())
    wanted = request.scope["route"].operation_id
    operation = next(each for each in operations if each["operationId"] == wanted)
    return [parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"]


def _malformed(text: str, position: int, reason: str) -> Refusal:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return Refusal(400, "malformed_json", f"The body is not JSON: {reason} at line {line}, column {column}.")


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = error.status_code
    if status in (204, 304):
        return Response(status_code=status, headers=error.headers)
    details = {
        400: "The body cannot be read: send JSON in UTF-8, not nested too deep, with numbers below 4300 digits.",
        404: f"There is nothing at {request.url.path}: see /docs for what there is.",
        405: f"{request.method} is not possible at {request.url.path}: see the header Allow.",
    }
    detail = details.get(status, str(error.detail))
    headers = {"Allow": ", ".join(_possible(request))} if status == 405 else error.headers
    return problem(Refusal(status, CODES.get(status, "error"), detail, headers=headers))


def _possible(request: Request) -> list[str]:
    """Methods of all routes at this path; each route by itself knows its own only."""

    def possible(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return [method for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE") if possible(method)]


def _known(request: Request, error: Exception) -> Response:
    assert isinstance(error, BilevelError)
    status = STATUS.get(type(error), 500)
    if status == 500:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    if isinstance(error, ReferenceInvalid) and error.pointer:
        return problem(blaming(status, error.code, {"pointer": error.pointer, "detail": str(error)}))
    return problem(Refusal(status, error.code, str(error)))


def _unavailable(request: Request, error: Exception) -> Response:
    logger.warning("%s %s: the database did not do it: %s", request.method, request.url.path, error)
    detail = "The database does not answer: try again in a moment."
    if is_disk_full(error):
        detail = "The database's disk is full: make room on it, and try again."
    return problem(Refusal(503, "database_unavailable", detail, headers={"Retry-After": "2"}))


def _unknown(request: Request, error: Exception) -> Response:
    # Starlette raises it again after this answer, so that the server's log has the traceback.
    detail = "Something went wrong on the server; its log says what."
    return problem(Refusal(500, "internal", detail))
