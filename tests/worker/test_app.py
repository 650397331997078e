"""What the worker's exit status says."""

from typing import Any

import pytest

from core.settings import Settings
from worker import app


@pytest.mark.parametrize(("asked", "status"), [(True, 0), (False, 1)])
def test_a_worker_that_was_not_asked_to_stop_does_not_end_with_0(
    settings: Settings, monkeypatch: Any, asked: bool, status: int
) -> None:
    monkeypatch.setattr(app, "start_fork_server", lambda: None)
    monkeypatch.setattr(app, "prepare_process", lambda threads: None)
    worker = app.Worker(settings)

    def end(arguments: list[str]) -> None:
        if asked:
            worker._shut_down()

    monkeypatch.setattr(worker.queue, "worker_main", end)
    try:
        assert worker.serve() == status
    finally:
        worker.stopping.set()
