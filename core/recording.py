"""Where the loop writes its curves and events: the protocol, and its in-memory twin."""

from collections.abc import Mapping
from typing import Any, Protocol


class Recorder(Protocol):
    """Takes points and events as the loop makes them; may hold them back for a second or so."""

    def points(self, hyperiteration: int, values: Mapping[str, float]) -> None:
        """One point for each named series at this hyperiteration; values may be non-finite."""
        ...

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Something worth telling, with plain JSON data."""
        ...

    def flush(self) -> None:
        """Writes everything held back; afterwards it is durable."""
        ...


class MemoryRecorder:
    """Keeps everything in memory, for tests and for use without a service."""

    def __init__(self) -> None:
        self.curves: dict[str, dict[int, float]] = {}
        self.events: list[tuple[str, dict[str, Any]]] = []

    def points(self, hyperiteration: int, values: Mapping[str, float]) -> None:
        """One point for each named series."""
        for name, value in values.items():
            self.curves.setdefault(name, {})[hyperiteration] = value

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Appends to `events`."""
        self.events.append((kind, dict(data)))

    def flush(self) -> None:
        """Nothing is held back."""
