"""Watches a child until it ends: cancellation, limits, the lease, and the worker's own end."""

import logging
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from core.status import Status
from worker.heartbeat import Heartbeat
from worker.process import Child

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.2
MIB = 1 << 20


class Reason(Enum):
    """Why a slot ends its child."""

    FENCED = "another attempt holds the experiment"
    ABANDONED = "no heartbeat has succeeded for too long"
    MEMORY = "the memory limit is exceeded"
    CANCEL = "somebody cancelled the experiment"
    TIME = "the time limit is reached"
    RELEASE = "the worker is stopping"

    @property
    def at_once(self) -> bool:
        """Whether the child gets no time to write a checkpoint."""
        return self in (Reason.FENCED, Reason.ABANDONED, Reason.MEMORY)


class Limits(NamedTuple):
    """What a child is allowed."""

    time: float | None
    """Seconds that it may run."""
    memory: int
    """Bytes of main memory that it may occupy."""
    shared: bool
    """Whether that is the slot's share of the machine, and not the spec's `resources.memory_limit`."""
    abandon: float
    """Seconds without a heartbeat after which it is killed."""
    grace: float
    """Seconds that it has to stop when asked."""


def supervise(child: Child, heartbeat: Heartbeat, limits: Limits, stopping: Callable[[], bool]) -> Reason | None:
    """Returns when the child has ended: why the slot ended it, or None if it ended by itself."""
    reason: Reason | None = None
    asked_at = 0.0
    while not child.wait(TICK_SECONDS):
        if reason is None or not reason.at_once:
            urgent = _reason(child, heartbeat, limits, stopping)
            if urgent is not None and (reason is None or urgent.at_once):
                logger.info("ending child %d: %s", child.pid, urgent.value)
                reason, asked_at = urgent, child.seconds()
        if reason is None:
            continue
        if reason.at_once or child.seconds() - asked_at > limits.grace:
            child.kill()
        else:
            child.ask_to_stop()
    return reason


def _reason(child: Child, heartbeat: Heartbeat, limits: Limits, stopping: Callable[[], bool]) -> Reason | None:
    if heartbeat.status is None:
        return Reason.FENCED
    if heartbeat.age() > limits.abandon:
        return Reason.ABANDONED
    if child.memory() > limits.memory:
        return Reason.MEMORY
    if heartbeat.status is Status.CANCELLING:
        return Reason.CANCEL
    if limits.time is not None and child.seconds() > limits.time:
        return Reason.TIME
    return Reason.RELEASE if stopping() else None
