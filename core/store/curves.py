"""Curves: for each hyperiteration the point of the highest attempt, thinned so that spikes survive."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

FOR_EVER = 2**63 - 1
"""A step that no series reaches."""
POINTS_A_BUCKET = 3
"""A bucket gives its lowest, its highest and its last point."""


class Point(NamedTuple):
    """One value of a series."""

    step: int
    value: float
    attempt: int


@dataclass
class Series:
    """A named line of points with rising steps."""

    points: list[Point] = field(default_factory=list)

    @property
    def seams(self) -> bool:
        """Whether more than one attempt made it."""
        return len({point.attempt for point in self.points}) > 1


class Span(NamedTuple):
    """Where the stored points of a series lie."""

    series: str
    first: int
    last: int
    stored: int
    """Stored points; those that a later attempt made again are counted again."""


_SPANS = text("""
    SELECT series, greatest(min(first), :after + 1), max(last), sum(cardinality(steps))
    FROM curve_chunks
    WHERE experiment_id = :id AND last > :after AND (:every OR series LIKE ANY (:patterns))
    GROUP BY series ORDER BY series
""")

# Where attempts overlap, the highest wins at each step.
_EFFECTIVE = """
    SELECT DISTINCT ON (series, step) series, step, value, attempt
    FROM curve_chunks CROSS JOIN LATERAL unnest(steps, points) AS point(step, value)
    WHERE experiment_id = :id AND series = ANY (:names)
        AND last > :after AND first <= :until AND step > :after AND step <= :until
    ORDER BY series, step, attempt DESC
"""

_ALL = text(_EFFECTIVE)

# Arrays compare element by element: the least (value, step, attempt) is the first of the lowest points.
# In Postgres NaN is above every number, so that it survives as the highest point.
_THINNED = text(f"""
    WITH span AS (
        SELECT * FROM unnest(CAST(:names AS text[]), CAST(:firsts AS bigint[]), CAST(:lasts AS bigint[]))
            AS span(name, lowest, highest)
    ), point AS ({_EFFECTIVE})
    SELECT series,
        min(ARRAY[value, step, attempt]),
        max(ARRAY[value, step, attempt]),
        max(ARRAY[step, value, attempt])
    FROM point JOIN span ON series = name
    GROUP BY series, CASE WHEN step = lowest THEN -1 ELSE (step - lowest) * :buckets / (highest - lowest + 1) END
    ORDER BY series, max(step)
""")


def spans(session: Session, experiment_id: UUID, patterns: Sequence[str] = (), *, after: int = -1) -> list[Span]:
    """The series of an experiment and where their points lie.

    Args:
        session: an open transaction.
        experiment_id: which experiment.
        patterns: names of series, with `*` for any text and `?` for any character; empty: all.
        after: look only at points after this step.
    """
    parameters = {
        "id": experiment_id,
        "after": after,
        "every": not patterns,
        "patterns": [_like(pattern) for pattern in patterns],
    }
    return [Span(*row) for row in session.execute(_SPANS, parameters)]


def read(
    session: Session,
    experiment_id: UUID,
    patterns: Sequence[str] = (),
    *,
    after: int = -1,
    max_points: int = 500,
) -> Mapping[str, Series]:
    """Curves with at most `max_points` points a series.

    A series that has more is cut into buckets of equal length, of which the lowest, the highest and the last
    point are kept, and its first point.

    Args:
        session: an open transaction.
        experiment_id: which experiment.
        patterns: names of series, with `*` for any text and `?` for any character; empty: all.
        after: only points after this step.
        max_points: at least 4.
    """
    found = spans(session, experiment_id, patterns, after=after)
    curves = {span.series: Series() for span in found}
    short = [span.series for span in found if span.stored <= max_points]
    if short:
        parameters = {"id": experiment_id, "after": after, "until": FOR_EVER, "names": short}
        for name, *point in session.execute(_ALL, parameters):
            curves[name].points.append(Point(*point))
    if long := [span for span in found if span.stored > max_points]:
        for name, points in _thinned(session, experiment_id, long, after, max_points):
            curves[name].points.extend(points)
    return curves


def rows(session: Session, experiment_id: UUID, series: str, *, after: int, until: int) -> list[Point]:
    """Every point of one series after a step and up to another: a page of an export."""
    parameters = {"id": experiment_id, "names": [series], "after": after, "until": until}
    return [Point(step, value, attempt) for _, step, value, attempt in session.execute(_ALL, parameters)]


def _thinned(
    session: Session, experiment_id: UUID, long: Sequence[Span], after: int, max_points: int
) -> Iterator[tuple[str, list[Point]]]:
    parameters = {
        "id": experiment_id,
        "after": after,
        "until": FOR_EVER,
        "names": [span.series for span in long],
        "firsts": [span.first for span in long],
        "lasts": [span.last for span in long],
        "buckets": (max_points - 1) // POINTS_A_BUCKET,
    }
    for name, lowest, highest, last in session.execute(_THINNED, parameters):
        kept = {(int(step), value, int(attempt)) for value, step, attempt in (lowest, highest)}
        step, value, attempt = last
        by_step = {point[0]: Point(*point) for point in (*kept, (int(step), value, int(attempt)))}
        yield name, [by_step[step] for step in sorted(by_step)]


def _like(pattern: str) -> str:
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")
