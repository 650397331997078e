"""The reaper's sweep of the storage, portion by portion."""

import os
import threading
from typing import Any

from sqlalchemy import Engine

from core.queue import make_queue
from core.settings import Settings
from core.store.blobs import Blobs
from worker import reaper


def test_forgotten_files_go_a_portion_a_round(settings: Settings, engine: Engine, monkeypatch: Any) -> None:
    monkeypatch.setattr(reaper, "PORTION", 4)
    blobs = Blobs(settings.storage_dir)
    old = [blobs.put(f"old {n}".encode()) for n in range(10)]
    for blob in old:
        os.utime(blobs.path(blob.sha256), (0, 0))
    recent = blobs.put(b"recent")
    queue = make_queue(settings.broker_url.get_secret_value())
    sweeper = reaper.Reaper(engine, queue, settings, threading.Event())

    def left() -> int:
        return sum(blobs.path(blob.sha256).exists() for blob in old)

    assert left() == 10
    found = []
    for _ in range(4):
        sweeper.sweep()
        found.append(left())
    assert found == [6, 2, 0, 0]
    assert blobs.get(recent.sha256) == b"recent"


def test_connections_notice_a_host_that_has_gone_silent(engine: Engine) -> None:
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        given = driver.info.get_parameters()
    assert (given["keepalives_idle"], given["tcp_user_timeout"]) == ("10", "15000")
