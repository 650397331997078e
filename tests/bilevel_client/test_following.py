"""Lines of progress in terminals of several widths: the count and what comes next are whole."""

import io
from typing import Any

import pytest
from rich.console import Console

from bilevel_client.commands.following import _bars


class Ended:
    """A follower that shows what it is given, once."""

    ended = True

    def __init__(self, status: str, eta: float | None, code: str | None) -> None:
        progress = {"hyperiteration": 12345, "hyperiterations": 20000, "eta_seconds": eta}
        loss = code and {"error": {"code": code}, "retried_at": "2026-01-01T00:00:00Z"}
        self.record: dict[str, Any] = {"name": "one representation for 20 ways and more", "status": status}
        self.record |= {"progress": progress, "waiting_for": "a free slot with a CUDA device", "lost_attempt": loss}

    def warnings(self) -> list[str]:
        return []

    def figures(self) -> str:
        return "outer objective 0.1234  validation accuracy 91.23 %" if self.record["status"] == "running" else ""


@pytest.mark.parametrize("width", [80, 100, 120, 150])
def test_lines_of_progress_are_whole(width: int) -> None:
    console = Console(width=width, force_terminal=True, color_system=None, file=io.StringIO())
    followers = [Ended("running", 700.0, None), Ended("queued", None, "worker_lost")]
    _bars(console, followers)  # type: ignore[arg-type]
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("one repre", "━", "12345/20000", "11 min 40 s to go", "waits for a free slot with a CUDA device"):
        assert part in shown
    assert ("outer objective 0.1234  validation accuracy 91.23 %" in shown) == (width >= 120)
