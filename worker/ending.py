"""From how a child ended to what is written down: one table for every way."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, assert_never

from core.status import Status
from core.store.blobs import Blob
from core.store.claiming import Claim
from core.store.engine import Session
from core.store.finishing import Budget, Failure, StoredArtifact, cancel, fail, lose, release, succeed
from worker.order import Report
from worker.supervise import MIB, Limits, Reason

Transition = Callable[[Session], Status | None]


class Ending(NamedTuple):
    """How a child ended."""

    report: Report | None
    """What it said itself, if it still could."""
    reason: Reason | None
    """Why its slot ended it, if it did."""
    process: str
    """What became of the process."""
    limits: Limits
    """What it was allowed."""
    occupied: int
    """Bytes of main memory that it was last seen with."""


def transition(claimed: Claim, ending: Ending, budget: Budget) -> Transition:
    """What to write down; each transition is guarded by the fence and safe to repeat."""

    def held(function: Callable[..., Status | None], **more: Any) -> Transition:
        return partial(function, experiment_id=claimed.experiment_id, attempt=claimed.attempt, **more)

    match ending.report:
        case Report("succeeded", data):
            last = data["result"]["final"]["hyperiteration"]
            return held(succeed, hyperiteration=last, result=data["result"], artifacts=_artifacts(data))
        case Report("failed", data):
            return held(fail, failure=Failure(**data))
        case Report("lost", data):
            return held(lose, failure=Failure(**data), budget=budget)
    match ending.reason:
        case Reason.CANCEL:
            return held(cancel)
        case Reason.TIME:
            return held(fail, failure=Failure("timeout", "time_limit", _too_long(ending.limits)))
        case Reason.MEMORY:
            return held(fail, failure=Failure("user", "out_of_memory", _too_large(ending)))
        case Reason.ABANDONED:
            message = "The worker could not reach the database for its heartbeats."
            return held(lose, failure=Failure("infrastructure", "no_heartbeat", message), budget=budget)
        case Reason.RELEASE:
            return held(release)
        case Reason.FENCED:
            return lambda session: None
        case None if ending.report is not None:  # it stopped because somebody else sent it SIGTERM
            return held(release)
        case None:
            failure = Failure("infrastructure", "child_died", f"The child process ended: {ending.process}.")
            return held(lose, failure=failure, budget=budget)
        case _:
            assert_never(ending.reason)


def _too_long(limits: Limits) -> str:
    return (
        f"The attempt ran for longer than the {limits.time:g} seconds of `resources.time_limit`: raise it, or ask for "
        "fewer hyperiterations (`bilevel plan` says how long it takes)."
    )


def _too_large(ending: Ending) -> str:
    took = f"It took {ending.occupied / MIB:.0f} MB of main memory, more than the {ending.limits.memory / MIB:.0f} MB"
    smaller = "make its batches, models or data smaller (`bilevel plan` says what takes how much)."
    if ending.limits.shared:
        return f"{took} of the slot's share of the machine: give it a `resources.memory_limit` of its own, or {smaller}"
    return f"{took} of `resources.memory_limit`: raise it, or {smaller}"


def _artifacts(data: dict[str, Any]) -> dict[str, StoredArtifact]:
    return {
        name: StoredArtifact(artifact["media_type"], Blob(artifact["sha256"], artifact["size"]))
        for name, artifact in data["artifacts"].items()
    }
