"""The query of a list: filters, and the opaque cursor of its pages."""

import base64
import json
import re
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from core.spec import KINDS, kind_of
from core.status import Status
from core.store.listing import Filters, Position
from core.store.reading import ExperimentFilters

PROBLEMS = tuple(kind_of(member) for member in KINDS["problem"])


def _decode(cursor: str) -> Position:
    try:
        created_at, row_id = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        return Position(datetime.fromisoformat(created_at), UUID(row_id))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise PydanticCustomError("cursor", "The cursor is not one that a page gave as `next`") from error


def _checked_cursor(cursor: str) -> str:
    _decode(cursor)
    return cursor


def _checked_kind(kind: str) -> str:
    if kind not in PROBLEMS:
        expected = ", ".join(f"'{name}'" for name in PROBLEMS)
        raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": expected})
    return kind


def _checked_label(label: str) -> str:
    if not re.fullmatch(r"[^:\x00]+:[^\x00]+", label):
        raise PydanticCustomError("label", "A label is given as `name:value`")
    return label


def _checked_prefix(prefix: str) -> str:
    digits = prefix.replace("-", "").lower()
    if not re.fullmatch(r"[0-9a-f]{1,32}", digits):
        raise PydanticCustomError("id_prefix", "An id has hexadecimal digits and dashes")
    return digits


class PageQuery(BaseModel):
    """Parameters of a list: what its pages are of."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    label: Annotated[list[Annotated[str, AfterValidator(_checked_label)]], Field(max_length=50)] = []
    """Only with this label, `name:value`; given several times, all have to be there."""
    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")] | None = None
    """Only with this text in the name, whatever its case."""
    id_prefix: Annotated[str, AfterValidator(_checked_prefix)] | None = None
    """Only with an id that begins so."""
    created_after: AwareDatetime | None = None
    """Only younger than this time, for example 2026-01-31T12:00:00Z."""
    created_before: AwareDatetime | None = None
    """Only older than this time."""
    cursor: Annotated[str, AfterValidator(_checked_cursor)] | None = None
    """`next` of the page before."""
    page_size: Annotated[int, Field(ge=1, le=1000)] = 50
    """How many on a page."""

    def position(self) -> Position | None:
        """Where the page before ended."""
        return _decode(self.cursor) if self.cursor is not None else None

    def common(self) -> dict[str, Any]:
        """What every list can be filtered by, as the store's filters have it."""
        return {
            "labels": self.label,
            "name": self.name,
            "id_prefix": self.id_prefix,
            "created_after": self.created_after,
            "created_before": self.created_before,
        }


class ListQuery(PageQuery):
    """Parameters of a list of experiments."""

    status: list[Status] = []
    """Only in one of these states; can be given several times."""
    kind: list[Annotated[str, AfterValidator(_checked_kind)]] = []
    """Only with one of these kinds of problem; can be given several times."""
    sweep: UUID | None = None
    """Only members of this sweep, with all trials of those that were retried."""
    in_sweep: bool | None = None
    """Only members of some sweep, or only experiments that are no member of any."""

    def filters(self) -> ExperimentFilters:
        """What the store filters by."""
        return ExperimentFilters(
            **self.common(), statuses=self.status, kinds=self.kind, sweep=self.sweep, in_sweep=self.in_sweep
        )


class SweepListQuery(PageQuery):
    """Parameters of a list of sweeps."""

    def filters(self) -> Filters:
        """What the store filters by."""
        return Filters(**self.common())


def cursor_at(position: Position) -> str:
    """The cursor of the page after that place."""
    text = json.dumps([position.created_at.isoformat(), str(position.row_id)])
    return base64.urlsafe_b64encode(text.encode()).decode()
