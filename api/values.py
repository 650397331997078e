"""Numbers of the members' results, asked for by their paths."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from api.errors import blaming
from core import plain
from core.status import Status
from core.store import reading
from core.store.engine import Session
from core.store.sweep_reading import SweepReading

MOST_NAMED = 20
"""Paths that a refusal names."""
LOOKED_INTO = 20
"""Results that are searched for them."""

Path = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00.]*(\.[^\x00.]*){0,30}$")]


class ValuesQuery(BaseModel):
    """Parameters of a request for a sweep or its members."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    value: Annotated[list[Path], Field(max_length=20)] = []
    """Dotted path of a number in the members' results, such as `report.f1` or `timing.total_seconds`; can be given
    several times. They come in `values`."""


def require_values(session: Session, found: SweepReading) -> None:
    """Refuses paths at which no result has a number; before the first result every path may have one."""
    results = [each for each in found.members if each.status is Status.SUCCEEDED]
    if not results:
        return
    for path in results[0].values:
        if all(plain.read(each.values[path]) is None for each in results):
            some = [reading.outcome(session, each.experiment_id).result for each in results[:LOOKED_INTO]]
            possible = {other for result in some for other in plain.paths(result)}
            detail = f"no member has a number at `{path}`: {_instead(path, sorted(possible, key=_rank))}"
            raise blaming(422, "invalid", {"parameter": "value", "detail": detail})


def _rank(path: str) -> tuple[bool, str]:
    """Entries of lists, which may be many, come last."""
    return any(part.isdecimal() for part in path.split(".")), path


def _instead(path: str, possible: Sequence[str]) -> str:
    """What may have been meant: paths below it, or alike, or others in its part of the result, or else the parts."""
    below = [each for each in possible if each.startswith(f"{path}.")]
    alike = get_close_matches(path, possible, n=3, cutoff=0.8)
    beside = [each for each in possible if each.startswith(f"{path.partition('.')[0]}.")]
    named = below or alike or beside or list(dict.fromkeys(f"{each.partition('.')[0]}.…" for each in possible))
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    return f"there are {', '.join(f'`{each}`' for each in named[:MOST_NAMED])}{more}"
