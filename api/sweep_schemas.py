"""The shapes of answers about sweeps."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from api.schemas import SPEC_EXAMPLES, Answer, Failure, fraction
from core import comparing, plain
from core.plain import Number
from core.status import Status
from core.store.sweep_reading import MemberReading, Standing, SweepReading
from core.store.tables import SweepRow


class SweepProgress(Answer):
    """How far the members are together, the newest trial of each."""

    hyperiteration: int
    """Hyperiterations that are done, summed over the members."""
    hyperiterations: int
    """Hyperiterations that the members ask for."""
    fraction: float
    """hyperiteration / hyperiterations, between 0 and 1."""


class SweepLinks(Answer):
    """Where to go on."""

    self: str
    members: str
    experiments: str
    cancel: str
    retry: str


class SweepSummary(Answer):
    """A sweep: its name and how far its members are."""

    id: UUID
    name: str
    labels: dict[str, str]
    members: int
    """Number of members."""
    counts: dict[Status, int]
    """Members by state, the newest trial of each."""
    ended: bool
    """Whether every member has ended; a retry begins again."""
    progress: SweepProgress
    created_at: datetime
    spec_sha256: str
    """Hash of the members' specs and parameters."""
    links: SweepLinks


class MemberScore(Answer):
    """What a member reached with the outer variables that were best on validation data."""

    metric: str
    """The validation metric by which they were chosen."""
    better: Literal["higher", "lower"]
    """Whether a higher or a lower value of it is better."""
    hyperiteration: int
    """The hyperiteration of the best outer variables."""
    validation: Number
    """The metric on validation data."""
    test: dict[str, Number]
    """Every metric on test data, which chose nothing."""


class BestMember(MemberScore):
    """The member whose validation metric is the best."""

    member: int
    trial: int
    parameters: dict[str, Any]
    experiment_id: UUID


class Spread(Answer):
    """A metric over seeds."""

    mean: Number
    """Mean over the seeds that have succeeded."""
    deviation: Number | None
    """Sample standard deviation (n - 1) over the seeds that have succeeded; null of a single one. It says how much the
    seed changes, not how sure the mean of one experiment is, which is `ci95` in its result."""


class Cell(Answer):
    """The members that differ by their seeds alone."""

    parameters: dict[str, Any]
    """Field -> value, without the seed."""
    members: list[int]
    """Their numbers."""
    seeds: int
    """How many there are."""
    succeeded: int
    """How many have succeeded: those that the means are over."""
    metric: str | None
    """The validation metric that chooses; null before one has succeeded."""
    validation: Spread | None
    """That metric on validation data, mean and deviation over seeds."""
    test: dict[str, Spread]
    """Every metric on test data, mean and deviation over seeds."""
    values: dict[str, Spread]
    """Numbers of the results that `value` asks for, by path: mean and deviation over the seeds that have them."""


class SweepRecord(SweepSummary):
    """A sweep: what was asked for, how far it is, what came of it."""

    spec: dict[str, Any]
    """The sweep with whole paths and the seeds written out; the base as it was given."""
    best: BestMember | None
    """Of the members that have succeeded, the one with the best validation metric; a value that is not finite is never
    the best. Null before one has succeeded, and where members are chosen by different metrics or on different data or
    tasks."""
    best_cell: Cell | None
    """Of the cells whose seeds have all succeeded, more than one, that with the best mean of the validation metric.
    Null where there is none, and where they are chosen by different metrics or on different data or tasks."""
    cells: list[Cell]
    """The members grouped by their parameters without the seed, in the order of the grid."""
    version: int
    """Rises with every change of a member; also the ETag."""


class SweepPage(Answer):
    """Some sweeps, newest first."""

    items: list[SweepSummary]
    next: str | None
    """Give this as `cursor` to get the next page; null on the last."""


class MemberLinks(Answer):
    """Where its experiment is."""

    experiment: str


class MemberRecord(Answer):
    """The newest trial of a member."""

    member: int
    """Its number in the order of the grid, from 0."""
    trial: int
    """From 1; rises when the member is retried."""
    parameters: dict[str, Any]
    """Field -> value, in the order of the grid, and `seed`."""
    experiment_id: UUID
    status: Status
    progress: SweepProgress
    error: Failure | None
    score: MemberScore | None
    """Null until it has succeeded."""
    values: dict[str, Number]
    """Numbers of its result that `value` asks for, by path; without those that it does not have."""
    links: MemberLinks


class Members(Answer):
    """Every member of a sweep, in the order of the grid, seeds fastest."""

    members: list[MemberRecord]


class Retried(Answer):
    """What a retry did."""

    retried: int
    """How many members were submitted again: those that had failed or were cancelled."""
    sweep: SweepRecord


def summary(row: SweepRow, standing: Standing) -> SweepSummary:
    """The answer for a sweep's row in a list."""
    return SweepSummary.model_validate(_summary(row, standing))


def record(reading: SweepReading) -> SweepRecord:
    """The answer for a sweep."""
    scores = [score for each in reading.members if (score := _score(each)) is not None]
    best = comparing.best(scores)
    values = {each.member: _values(each) for each in reading.members}
    cells = comparing.cells([each.parameters for each in reading.members], scores, values)
    best_cell = comparing.best_cell(cells, scores)
    return SweepRecord(
        **_summary(reading.row, reading.standing),
        spec=reading.row.spec,
        best=None if best is None else _best(best, reading.members[best.member]),
        best_cell=None if best_cell is None else _cell(best_cell),
        cells=[_cell(each) for each in cells],
        version=reading.version,
    )


def member(reading: MemberReading) -> MemberRecord:
    """The answer for a member."""
    score = _score(reading)
    return MemberRecord(
        member=reading.member,
        trial=reading.trial,
        parameters=reading.parameters,
        experiment_id=reading.experiment_id,
        status=reading.status,
        progress=_progress(reading.hyperiteration, reading.hyperiterations),
        error=None if reading.error is None else Failure.model_validate(reading.error),
        score=None if score is None else MemberScore.model_validate(_scored(score)),
        values={path: plain.number(value) for path, value in _values(reading).items()},
        links=MemberLinks(experiment=f"/v1/experiments/{reading.experiment_id}"),
    )


def _summary(row: SweepRow, standing: Standing) -> dict[str, Any]:
    place = f"/v1/sweeps/{row.id}"
    return {
        "id": row.id,
        "name": row.name,
        "labels": row.labels,
        "members": row.members,
        "counts": {status: standing.counts.get(status, 0) for status in Status},
        "ended": all(status.terminal for status, count in standing.counts.items() if count),
        "progress": _progress(standing.hyperiteration, standing.hyperiterations),
        "created_at": row.created_at,
        "spec_sha256": row.spec_sha256,
        "links": SweepLinks(
            self=place,
            members=f"{place}/members",
            experiments=f"/v1/experiments?sweep={row.id}",
            cancel=f"{place}:cancel",
            retry=f"{place}:retry",
        ),
    }


def _progress(done: int, asked: int) -> SweepProgress:
    return SweepProgress(hyperiteration=done, hyperiterations=asked, fraction=fraction(done, asked))


def _score(reading: MemberReading) -> comparing.Score | None:
    found = (reading.selection, reading.best, reading.test, reading.data)
    return comparing.score(reading.member, reading.parameters, reading.spec, *found)


def _values(reading: MemberReading) -> dict[str, float]:
    found = {path: plain.read(value) for path, value in reading.values.items()}
    return {path: value for path, value in found.items() if value is not None}


def _scored(score: comparing.Score) -> dict[str, Any]:
    return {
        "metric": score.metric,
        "better": score.better,
        "hyperiteration": score.hyperiteration,
        "validation": plain.number(score.validation),
        "test": {name: plain.number(value) for name, value in score.test.items()},
    }


def _best(score: comparing.Score, reading: MemberReading) -> BestMember:
    return BestMember(
        **_scored(score),
        member=reading.member,
        trial=reading.trial,
        parameters=reading.parameters,
        experiment_id=reading.experiment_id,
    )


def _cell(cell: comparing.Cell) -> Cell:
    return Cell(
        parameters=dict(cell.parameters),
        members=list(cell.members),
        seeds=len(cell.members),
        succeeded=cell.succeeded,
        metric=cell.metric,
        validation=None if cell.validation is None else _spread(cell.validation),
        test={name: _spread(each) for name, each in cell.test.items()},
        values={path: _spread(each) for path, each in cell.values.items()},
    )


def _spread(spread: comparing.Spread) -> Spread:
    return Spread(mean=plain.number(spread.mean), deviation=plain.data(spread.deviation))


SWEEP_EXAMPLES = {
    "inner_steps": {
        "summary": "How many inner steps, and which hypergradient, over three seeds",
        "value": {
            "name": "inner steps of a quadratic",
            "base": SPEC_EXAMPLES["quadratic"]["value"],
            "grid": {"steps": [1, 4, 16], "hypergradient": [{"kind": "reverse"}, {"kind": "exact"}]},
            "seeds": [0, 1, 2],
        },
    }
}
"""Bodies that can be submitted as they are."""
