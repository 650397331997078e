"""What comes next for an experiment, in words, as `list`, `show` and `watch` say it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bilevel_client.commands.standing import to_come

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def record(status: str, *, done: int = 0, eta: float | None = None, loss: Any = None) -> dict[str, Any]:
    progress = {"hyperiteration": done, "hyperiterations": 40, "eta_seconds": eta}
    return {"status": status, "progress": progress, "waiting_for": "a free slot", "lost_attempt": loss}


def lost(seconds: float) -> dict[str, Any]:
    moment = (NOW + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    return {"error": {"code": "worker_lost"}, "retried_at": moment}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (record("queued"), "waits for a free slot"),
        (record("queued", loss=lost(12)), "lost (worker_lost), tried again in 12 s"),
        (record("queued", loss=lost(-1)), "waits for a free slot"),
        (record("running"), "running"),
        (record("running", done=10, eta=125.0), "2 min 05 s to go"),
        (record("running", done=40, eta=0.0), "evaluating"),
        (record("succeeded", done=40), "succeeded"),
    ],
)
def test_to_come(given: dict[str, Any], text: str) -> None:
    assert to_come(given, NOW) == text


def test_a_service_that_tells_of_no_losses() -> None:
    old = record("queued")
    del old["lost_attempt"]
    assert to_come(old, NOW) == "waits for a free slot"
