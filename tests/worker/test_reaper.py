"""The reaper: leases and a clock that jumps, and the sweep of the storage, portion by portion."""

import os
import threading
import time
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, func, select

from core.queue import make_queue
from core.settings import Settings
from core.store import clock
from core.store.blobs import Blobs
from core.store.claiming import claim
from core.store.engine import transaction
from core.store.submitting import submit
from core.store.tables import LeaseRow
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


def test_a_clock_that_jumps_takes_no_attempt_away(
    settings: Settings, engine: Engine, spec: Any, monkeypatch: Any
) -> None:
    ahead = timedelta()
    read = clock.read
    monkeypatch.setattr(clock, "read", lambda session: read(session) + ahead)
    queue = make_queue(settings.broker_url.get_secret_value())
    reaping = reaper.Reaper(engine, queue, settings, threading.Event())
    reaping.round()
    with transaction(engine) as session:
        submit(session, spec())
        assert claim(session, slot="test", device="cpu", lease_seconds=-1.0) is not None

    def leases() -> int:
        with transaction(engine) as session:
            return session.scalar(select(func.count()).select_from(LeaseRow)) or 0

    ahead = timedelta(seconds=settings.lease_seconds)
    reaping.round()
    assert leases() == 1, "its holder may renew it first"
    time.sleep(2 * settings.heartbeat_seconds)
    reaping.round()
    assert leases() == 0, "its holder is gone"


def test_connections_notice_a_host_that_has_gone_silent(engine: Engine) -> None:
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        given = driver.info.get_parameters()
    assert (given["keepalives_idle"], given["tcp_user_timeout"]) == ("10", "15000")
