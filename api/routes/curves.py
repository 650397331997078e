"""Curves: thinned for looking at, or every point for taking away."""

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from api import schemas
from api.deps import Caller, ExperimentId, Service, Uses
from api.negotiation import choose
from core import plain
from core.status import Status
from core.store import curves, reading
from core.store.engine import transaction

router = APIRouter(tags=["curves"])

CSV, NDJSON = "text/csv", "application/x-ndjson"
STEPS_A_PAGE = 10_000
"""Hyperiterations of a series that an export reads at a time: little memory, and time in proportion to its length."""

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]


class CurvesQuery(BaseModel):
    """Parameters of a request for curves."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    series: Annotated[list[Name], Field(max_length=100)] = []
    """Only series with this name, in which `*` stands for any text; can be given several times."""
    after: Annotated[int, Field(ge=-1, le=2**53)] = -1
    """Only points after this hyperiteration: `next` of the answer before."""
    max_points: Annotated[int, Field(ge=4, le=10_000)] | None = None
    """At most so many points a series (500 unless told). Of a longer one the lowest, the highest and the last point
    of each of equally long stretches are kept. CSV and NDJSON have every point."""


FORMATS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            CSV: {"schema": {"type": "string"}, "example": "series,step,value,attempt\nouter_objective,0,2.3026,1\n"},
            NDJSON: {
                "schema": {"type": "string"},
                "example": '{"series": "outer_objective", "step": 0, "value": 2.3026, "attempt": 1}\n',
            },
        }
    },
    406: {"description": "None of the accepted media types is here.", "model": schemas.Problem},
}


@router.get(
    "/experiments/{experiment_id}/curves",
    operation_id="get_curves",
    response_model=schemas.Curves,
    response_model_exclude_none=True,
    responses=FORMATS,
)
def get(
    experiment_id: ExperimentId,
    query: Annotated[CurvesQuery, Query()],
    uses: Uses,
    caller: Caller,
    response: Response,
    accept: Annotated[str | None, Header(description=f"application/json, {CSV} or {NDJSON}.")] = None,
) -> schemas.Curves | Response:
    """Curves by the name of the series; where several attempts made a point, that of the highest."""
    media_type = choose(accept, ("application/json", CSV, NDJSON))
    response.headers["Vary"] = "Accept"
    if media_type == "application/json":
        return _columns(uses, experiment_id, query)
    with transaction(uses.engine) as session:
        reading.version(session, experiment_id)
        found = curves.spans(session, experiment_id, query.series, after=query.after)
    lines = _csv if media_type == CSV else _ndjson
    content = lines(_points(uses, experiment_id, found))
    name = f"{experiment_id}.{'csv' if media_type == CSV else 'ndjson'}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Vary": "Accept"}
    return StreamingResponse(content, media_type=media_type, headers=headers)


def _columns(uses: Service, experiment_id: UUID, query: CurvesQuery) -> schemas.Curves:
    with transaction(uses.engine) as session:
        row = reading.get(session, experiment_id).row
        found = curves.read(session, experiment_id, query.series, after=query.after, max_points=query.max_points or 500)
    ended = Status(row.status).terminal
    # While it runs, points of the newest hyperiteration may still be on their way, and those of earlier attempts may
    # be made anew by this one.
    attempt = None if ended else row.attempt
    last = max((_newest(series, attempt, query.after) for series in found.values()), default=query.after)
    complete = last if ended else min(last, row.hyperiteration - 1)
    several = row.attempt > 1
    return schemas.Curves(
        series={name: _column(series, several=several) for name, series in found.items()},
        next=max(complete, query.after),
    )


def _newest(series: curves.Series, attempt: int | None, otherwise: int) -> int:
    """The last hyperiteration with a point, of that attempt if one is given."""
    return next((each.step for each in reversed(series.points) if attempt in (None, each.attempt)), otherwise)


def _column(series: curves.Series, *, several: bool) -> schemas.SeriesColumns:
    return schemas.SeriesColumns(
        step=[point.step for point in series.points],
        value=[plain.number(point.value) for point in series.points],
        attempt=[point.attempt for point in series.points] if several else None,
    )


def _points(
    uses: Service, experiment_id: UUID, spans: Sequence[curves.Span]
) -> Iterator[tuple[str, list[curves.Point]]]:
    """Every point, page by page, each read in a transaction of its own: a slow client holds no connection."""
    for span in spans:
        for after in range(span.first - 1, span.last, STEPS_A_PAGE):
            with transaction(uses.engine) as session:
                page = curves.rows(session, experiment_id, span.series, after=after, until=after + STEPS_A_PAGE)
            yield span.series, page


def _csv(pages: Iterator[tuple[str, list[curves.Point]]]) -> Iterator[str]:
    yield "series,step,value,attempt\n"
    for name, page in pages:
        quoted = '"' + name.replace('"', '""') + '"' if set(name) & set('",\r\n') else name
        yield "".join(f"{quoted},{step},{plain.number(value)},{attempt}\n" for step, value, attempt in page)


def _ndjson(pages: Iterator[tuple[str, list[curves.Point]]]) -> Iterator[str]:
    for name, page in pages:
        yield "".join(
            json.dumps({"series": name, "step": step, "value": plain.number(value), "attempt": attempt}) + "\n"
            for step, value, attempt in page
        )
