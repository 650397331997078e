"""The shapes of answers, which scripts may count on."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from core.errors import Category
from core.plain import Number
from core.status import ACTIVE, Status
from core.store.reading import Reading
from core.store.tables import ArtifactRow, ExperimentRow, SweepMemberRow


class Answer(BaseModel):
    """What all answers have in common: what stands below a field describes it."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Progress(Answer):
    """How far an experiment is."""

    hyperiteration: int
    """Hyperiterations whose points are stored."""
    hyperiterations: int
    """Hyperiterations that the spec asks for."""
    fraction: float
    """hyperiteration / hyperiterations, between 0 and 1; an experiment that stopped early succeeds below 1."""
    eta_seconds: float | None
    """Seconds to go at the pace of the latest hyperiterations, evaluations not counted; null unless it runs."""


class Failure(Answer):
    """Why an experiment failed or an attempt was lost; may hold further facts, such as the hyperiteration."""

    model_config = ConfigDict(extra="allow")

    category: Category
    """`user`: the spec is to blame; `infrastructure`: lost too often; `timeout`: a limit of the spec was reached."""
    code: str
    """For programs, for example `diverged`."""
    message: str
    """For people."""
    attempt: int
    """The attempt that failed."""


class LostAttempt(Answer):
    """An attempt that ended through no fault of the experiment, and when the next one may begin."""

    error: Failure
    """What ended it."""
    retried_at: datetime
    """Not before; the backoff after a loss."""


class Links(Answer):
    """Where to go on."""

    self: str
    curves: str
    result: str
    events: str
    artifacts: str
    cancel: str


class Membership(Answer):
    """Of which sweep an experiment is a member."""

    id: UUID
    """The sweep's."""
    member: int
    """Its number in the order of the grid, from 0."""
    trial: int
    """From 1; rises when the member is retried."""
    parameters: dict[str, Any]
    """Field -> value, in the order of the grid, and `seed`."""


class ExperimentRecord(Answer):
    """An experiment: what was asked for and where it stands."""

    id: UUID
    name: str
    labels: dict[str, str]
    status: Status
    attempt: int
    """Number of the current or last attempt; 0 before the first."""
    progress: Progress
    created_at: datetime
    started_at: datetime | None
    """When the first attempt began."""
    finished_at: datetime | None
    waiting_for: str | None
    """What a queued experiment waits for, after a loss from `retried_at` on; null otherwise."""
    lost_attempt: LostAttempt | None
    """Its last one, while it is queued to be tried again; null otherwise."""
    error: Failure | None
    spec: dict[str, Any]
    """The spec with every default written out."""
    spec_sha256: str
    """Hash of the spec; equal for equal specs."""
    sweep: Membership | None
    """The sweep that it is a member of, if it is."""
    version: int
    """Rises with every change; also the ETag, and what `?wait=&version=` waits for."""
    links: Links


class Page(Answer):
    """Some experiments, newest first."""

    items: list[ExperimentRecord]
    next: str | None
    """Give this as `cursor` to get the next page; null on the last."""


class SeriesColumns(Answer):
    """One series, column by column."""

    step: list[int]
    """Hyperiterations, rising."""
    value: list[Number]
    """The series' value at each."""
    attempt: list[int] | None = None
    """The attempt that made each point, where the experiment has had more than one."""


class Curves(Answer):
    """Curves of an experiment by the name of the series."""

    series: dict[str, SeriesColumns]
    next: int
    """Give this as `after` to get the points that come later; the last ones may come again. While a second attempt or
    a later one goes on it is not beyond what that has made: read the whole when the experiment's `attempt` rises."""


class ArtifactLinks(Answer):
    """Where its content is."""

    content: str


class Artifact(Answer):
    """A file that an experiment made."""

    name: str
    media_type: str
    size: int
    """Bytes."""
    sha256: str
    attempt: int
    created_at: datetime
    links: ArtifactLinks


class Artifacts(Answer):
    """The files that an experiment made."""

    artifacts: list[Artifact]


class StoredEvent(Answer):
    """Something that happened to an experiment; its kind is the name of the server-sent event."""

    version: int
    """The experiment's version from then on; also the id of the server-sent event."""
    at: datetime
    data: dict[str, Any]


class ProgressEvent(Answer):
    """How far an experiment is now; not stored."""

    version: int
    status: Status
    progress: Progress


class FieldProblem(BaseModel):
    """One field that is wrong."""

    pointer: Annotated[str | None, Field(description="JSON pointer into the body.")] = None
    parameter: Annotated[str | None, Field(description="Query parameter or header, if it is none of the body.")] = None
    detail: Annotated[str, Field(description="What is wrong and what is allowed.")]


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: Annotated[str, Field(description="The status in words.")]
    status: int
    detail: Annotated[str, Field(description="What is wrong and what to change.")]
    code: Annotated[str, Field(description="For programs.")]
    errors: list[FieldProblem] = []


def fraction(done: int, total: int) -> float:
    """Which part of the hyperiterations is done, at most 1; all of none."""
    return 1.0 if done >= total else done / total


def progress(reading: Reading) -> Progress:
    """How far the experiment of a row is."""
    row = reading.row
    done, total = row.hyperiteration, row.hyperiterations
    seconds = reading.seconds if row.status in ACTIVE else None
    return Progress(
        hyperiteration=done,
        hyperiterations=total,
        fraction=fraction(done, total),
        eta_seconds=None if seconds is None else round((total - done) * seconds, 3),
    )


def waiting_for(row: ExperimentRow) -> str | None:
    """Which kind of slot has to come free; whether there is one, only the workers know."""
    if row.status != Status.QUEUED:
        return None
    return "a free slot with a CUDA device" if row.device == "cuda" else "a free slot"


def lost_attempt(reading: Reading) -> LostAttempt | None:
    """The attempt whose loss the experiment waits after."""
    if reading.lost is None:
        return None
    return LostAttempt(error=Failure.model_validate(reading.lost), retried_at=reading.row.available_at)


def membership(row: SweepMemberRow | None) -> Membership | None:
    """The answer for a member's row."""
    if row is None:
        return None
    return Membership(id=row.sweep_id, member=row.member, trial=row.trial, parameters=row.parameters)


def experiment(reading: Reading) -> ExperimentRecord:
    """The answer for a row."""
    row = reading.row
    place = f"/v1/experiments/{row.id}"
    rooms = {room: f"{place}/{room}" for room in ("curves", "result", "events", "artifacts")}
    return ExperimentRecord(
        id=row.id,
        name=row.name,
        labels=row.labels,
        status=Status(row.status),
        attempt=row.attempt,
        progress=progress(reading),
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        waiting_for=waiting_for(row),
        lost_attempt=lost_attempt(reading),
        error=Failure.model_validate(row.error) if row.error is not None else None,
        spec=row.spec,
        spec_sha256=row.spec_sha256,
        sweep=membership(reading.sweep),
        version=row.version,
        links=Links(self=place, cancel=f"{place}:cancel", **rooms),
    )


def artifact(row: ArtifactRow) -> Artifact:
    """The answer for an artifact's row."""
    return Artifact(
        name=row.name,
        media_type=row.media_type,
        size=row.size,
        sha256=row.sha256,
        attempt=row.attempt,
        created_at=row.created_at,
        links=ArtifactLinks(content=f"/v1/experiments/{row.experiment_id}/artifacts/{row.name}"),
    )


SPEC_EXAMPLES = {
    "hyper_cleaning": {
        "summary": "Find flipped labels in scikit-learn's digits",
        "value": {
            "name": "hyper-cleaning of digits",
            "labels": {"project": "cleaning"},
            "problem": {"kind": "hyper_cleaning", "dataset": {"kind": "digits"}, "corruption": 0.5},
            "algorithm": {"kind": "nested", "steps": 100, "hyperiterations": 100},
        },
    },
    "quadratic": {"summary": "The smallest experiment", "value": {"problem": {"kind": "quadratic"}}},
}
"""Bodies that can be submitted as they are."""
