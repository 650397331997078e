"""The application: `create_app`, put together from one file a resource."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from api import errors, schemas, web
from api.bell import Bell
from api.deps import Service
from api.limits import BodyLimit
from api.routes import catalog, curves, events, experiments, health, plans, results, sweeps
from api.watching import Watch
from core.queue import check, make_queue, ring
from core.settings import Settings
from core.settings import settings as process_settings
from core.store.engine import make_engine

DESCRIPTION = """
Submit a bilevel experiment as JSON, watch its curves, take its result.

Every error is `application/problem+json` with a `code` for programs and, where fields of the body are to blame,
`errors` with a JSON `pointer` each.
"""
REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"description": "The key is missing or wrong.", "model": schemas.Problem},
    403: {
        "description": "The service has no key and was addressed by a name of another machine.",
        "model": schemas.Problem,
    },
    404: {"description": "There is no such thing.", "model": schemas.Problem},
    409: {"description": "The experiment's state does not allow it.", "model": schemas.Problem},
    413: {"description": "The body is too large.", "model": schemas.Problem},
    422: {"description": "Something in the request is not possible; `errors` says what.", "model": schemas.Problem},
    503: {"description": "The database does not answer.", "model": schemas.Problem},
}
BODY_REFUSALS = {"400": "The body is not JSON.", "415": "The body is not marked as JSON."}
"""Of the operations that take a body."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application, with the settings of the process unless others are given.

    Raises:
        ValueError: there is no database or broker in the settings.
    """
    settings = settings or process_settings()
    for name in ("database_url", "broker_url"):
        if not getattr(settings, name).get_secret_value():
            raise ValueError(f"{name.upper()} is not set: give it the address of a server, or start with `bilevel up`")
    app = FastAPIOffline(  # with the scripts of its pages, which FastAPI takes from the internet
        title="Bilevel",
        version=_version(),
        description=DESCRIPTION,
        license_info={"name": "MIT", "identifier": "MIT"},
        lifespan=_lifespan,
        swagger_ui_parameters={"defaultModelsExpandDepth": 0},  # a hundred schemas, below the operations
    )
    app.state.service = _service(settings)
    app.add_middleware(BodyLimit)
    errors.install(app)
    for resource in (experiments, sweeps, plans, curves, results, events, catalog):
        app.include_router(resource.router, prefix="/v1", responses=REFUSALS)
    app.include_router(health.router)
    web.install(app)
    plain = app.openapi
    app.openapi = lambda: _completed(plain())  # type: ignore[method-assign] # the documented way to extend it
    return app


def _service(settings: Settings) -> Service:
    database_url = settings.database_url.get_secret_value()
    queue = make_queue(settings.broker_url.get_secret_value())
    return Service(
        settings=settings,
        engine=make_engine(database_url, pool_size=8, name="bilevel-api"),
        watch=Watch(database_url),
        ring=Bell(partial(ring, queue)),
        check_broker=partial(check, queue),
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    listening = asyncio.create_task(service.watch.run())
    yield
    listening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await listening
    service.engine.dispose()


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document, where operations go by their ids and refusals are problem+json."""
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["summary"] = operation["operationId"].replace("_", " ").capitalize()
            for status, words in BODY_REFUSALS.items() if "requestBody" in operation else ():
                operation["responses"][status] = {**operation["responses"]["422"], "description": words}
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _without_null(parameter["schema"])
            for status, response in operation["responses"].items():
                content = [each for each in response.get("content", {}).values() if "schema" in each]
                if status[0] in "45" and content:
                    response["content"] = {errors.MEDIA_TYPE: content[0]}
    return document


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter, which can be left out and cannot be null."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) != 1:
        return schema
    return {**{name: value for name, value in schema.items() if name != "anyOf"}, **choices[0]}


def _version() -> str:
    try:
        return version("bilevel")
    except PackageNotFoundError:
        return "0"
