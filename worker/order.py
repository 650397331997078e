"""What a slot and its child say to each other: an order in, one report out."""

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple
from uuid import UUID

from core.settings import Settings


class Order(NamedTuple):
    """What the child is to run."""

    experiment_id: UUID
    attempt: int
    spec: Mapping[str, Any]
    device: str
    threads: int
    settings: Settings


class Report(NamedTuple):
    """How the child's work ended, in its own words: one JSON message, never pickle."""

    outcome: Literal["succeeded", "failed", "lost", "stopped"]
    data: dict[str, Any]
    """succeeded: `result` and `artifacts`; failed and lost: the error; stopped: empty."""

    def encode(self) -> bytes:
        """As it goes through the pipe."""
        return json.dumps(self._asdict(), allow_nan=False).encode()

    @staticmethod
    def broken(error: Exception) -> "Report":
        """Lost, since the storage or the system failed."""
        message = f"{type(error).__name__}: {error}"
        return Report("lost", {"category": "infrastructure", "code": "system", "message": message})

    @staticmethod
    def decode(message: bytes) -> "Report":
        """The inverse of `encode`."""
        return Report(**json.loads(message))
