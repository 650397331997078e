"""What an experiment waits for, or how long it has to go, in words."""

from datetime import UTC, datetime

from bilevel_client.commands.numbers import duration
from bilevel_client.records import Record


def to_come(record: Record, now: datetime | None = None) -> str:
    """What comes next: what a queued experiment waits for, the time to go of one that runs; else its status."""
    status: str = record["status"]
    progress = record["progress"]
    if status == "queued":
        return _waits(record, now)
    if status != "running" or progress["eta_seconds"] is None:
        return status
    # After the last hyperiteration it is evaluated, which takes a time that nobody knows.
    last = progress["hyperiteration"] >= progress["hyperiterations"] - 1
    return "evaluating" if last else f"{duration(progress['eta_seconds'])} to go"


def until_retry(record: Record, now: datetime | None = None) -> float:
    """Seconds until an experiment may be tried again after a loss, by the clock of this machine; 0 if it may."""
    if not (lost := record.get("lost_attempt")):
        return 0.0
    return max((datetime.fromisoformat(lost["retried_at"]) - (now or datetime.now(UTC))).total_seconds(), 0.0)


def _waits(record: Record, now: datetime | None) -> str:
    if seconds := until_retry(record, now):
        return f"lost ({record['lost_attempt']['error']['code']}), tried again in {duration(seconds)}"
    return f"waits for {record['waiting_for']}"
