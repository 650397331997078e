"""What the service answers with, as the client gives it."""

from typing import Any, NamedTuple

TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
"""States that nothing follows."""

Record = dict[str, Any]
"""An experiment as the service shows it: id, name, labels, status, attempt, progress, ..., spec, links; or a sweep."""


class Series(NamedTuple):
    """One series of a curve."""

    step: list[int]
    """Hyperiterations, rising."""
    value: list[float]
    """The value at each; may be non-finite."""
    attempt: list[int] | None
    """The attempt that made each point, where the experiment has had more than one."""


class Curves(NamedTuple):
    """Curves of an experiment."""

    series: dict[str, Series]
    next: int
    """Give this as `after` to get what comes later; the last points may come again."""


class Event(NamedTuple):
    """Something that happened to an experiment."""

    kind: str
    """queued, started, resumed, progress, succeeded, ..."""
    version: int
    """The experiment's version; rises."""
    data: dict[str, Any]
