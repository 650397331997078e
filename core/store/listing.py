"""Pages of a list: which rows, and after which; experiments and sweeps alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, or_, tuple_

from core.store.tables import ExperimentRow, SweepRow

Listed = type[ExperimentRow] | type[SweepRow]


class Position(NamedTuple):
    """Where a page ends: the place of its last row in the order of creation."""

    created_at: datetime
    row_id: UUID


@dataclass(frozen=True)
class Filters:
    """Which rows; those that are empty let everything pass."""

    labels: Sequence[str] = ()
    """Each `name:value`, where both may have a colon."""
    name: str | None = None
    """Text that the name contains, whatever its case."""
    id_prefix: str | None = None
    """First hexadecimal digits of the id, without dashes."""
    created_after: datetime | None = None
    created_before: datetime | None = None


def filtered(statement: Select[Any], row: Listed, filters: Filters) -> Select[Any]:
    """The statement for rows that pass the filters."""
    for label in filters.labels:
        colons = (place for place, sign in enumerate(label) if sign == ":")
        statement = statement.where(or_(*(row.labels.contains({label[:at]: label[at + 1 :]}) for at in colons)))
    if filters.name is not None:
        statement = statement.where(row.name.icontains(filters.name, autoescape=True))
    if filters.id_prefix:
        first, last = (UUID(filters.id_prefix.ljust(32, digit)) for digit in "0f")
        statement = statement.where(row.id.between(first, last))
    if filters.created_after is not None:
        statement = statement.where(row.created_at > filters.created_after)
    if filters.created_before is not None:
        statement = statement.where(row.created_at < filters.created_before)
    return statement


def paged(statement: Select[Any], row: Listed, *, after: Position | None, size: int) -> Select[Any]:
    """The statement for the next `size` rows after a position, newest first."""
    if after is not None:
        statement = statement.where(tuple_(row.created_at, row.id) < after)
    return statement.order_by(row.created_at.desc(), row.id.desc()).limit(size)
