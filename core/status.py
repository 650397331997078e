"""The state machine of an experiment: what may follow what."""

from enum import StrEnum


class Status(StrEnum):
    """Where an experiment stands. Drawn in docs/lifecycle.md."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether nothing follows this state."""
        return not SUCCESSORS[self]


SUCCESSORS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.CANCELLED, Status.FAILED}),
    Status.RUNNING: frozenset({Status.QUEUED, Status.CANCELLING, Status.SUCCEEDED, Status.FAILED}),
    # A run that ends by itself before the cancellation reaches it keeps what it reached.
    Status.CANCELLING: frozenset({Status.CANCELLED, Status.SUCCEEDED, Status.FAILED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}

PREDECESSORS: dict[Status, frozenset[Status]] = {
    status: frozenset(before for before, successors in SUCCESSORS.items() if status in successors) for status in Status
}
"""The same, read backwards: from where a state can be reached."""

TERMINAL = frozenset(status for status, successors in SUCCESSORS.items() if not successors)
ACTIVE = frozenset({Status.RUNNING, Status.CANCELLING})
"""Held by an attempt with a lease."""
