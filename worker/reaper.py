"""The worker's second duty: takes back expired leases, rings again for what nobody claimed, and sweeps the storage."""

import logging
import threading
import time
from datetime import datetime
from functools import partial

from celery import Celery

from core.errors import BrokerUnreachable, DatabaseUnreachable
from core.queue import ring, unheard
from core.settings import Settings
from core.store import clock
from core.store.blobs import Blobs
from core.store.checkpoints import forgotten, sweep
from core.store.claiming import due
from core.store.engine import Engine
from core.store.finishing import Budget
from core.store.reaping import reap
from core.store.retrying import retrying

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 24 * 3600.0
"""Time between looking for forgotten files; the first look is at the start."""
PORTION = 100
"""Files that are removed in one round at most, so that leases do not wait."""

MOST_HINTS = 16
"""Rung in one round at most; a slot that hears one goes on until nothing is left."""


class Reaper:
    """A thread that makes a round every `reap_seconds`; any number of workers may have one."""

    def __init__(self, engine: Engine, queue: Celery, settings: Settings, stopping: threading.Event) -> None:
        self._engine, self._queue, self._stopping = engine, queue, stopping
        self._every, self._blobs = settings.reap_seconds, Blobs(settings.storage_dir)
        self._alive_file = settings.alive_file
        self._forgotten: list[str] = []
        self._look_at = 0.0
        self._lease_seconds, self._heartbeat_seconds = settings.lease_seconds, settings.heartbeat_seconds
        self._clocks: tuple[datetime, float] | None = None
        self._reap_from = 0.0
        self._budget = Budget(settings.infrastructure_attempts, settings.backoff_seconds)
        self._thread = threading.Thread(target=self._go, name="reaper", daemon=True)

    def start(self) -> None:
        """Begins, with a first round at once."""
        self._thread.start()

    def round(self) -> None:
        """Reaps, then rings.

        Raises:
            DatabaseUnreachable: Postgres did not answer.
            BrokerUnreachable: the broker did not answer.
        """
        if self._leases_count():
            for reaped in retrying(self._engine, partial(reap, budget=self._budget), patience=0.0):
                logger.warning("%s attempt %d: lease expired, now %s", *reaped)
        waiting = retrying(self._engine, partial(due, limit=MOST_HINTS), patience=0.0)
        if waiting and not unheard(self._queue):
            for _ in range(waiting):
                ring(self._queue)

    def sweep(self) -> None:
        """Removes a portion of the files that nothing refers to; looks for such files once a day.

        Raises:
            DatabaseUnreachable: Postgres did not answer.
        """
        if not self._forgotten and time.monotonic() >= self._look_at:
            self._forgotten = retrying(self._engine, partial(forgotten, blobs=self._blobs), patience=0.0)
            self._look_at = time.monotonic() + SWEEP_SECONDS
            if self._forgotten:
                logger.info("removing %d forgotten files from the storage folder", len(self._forgotten))
        if portion := self._forgotten[:PORTION]:
            retrying(self._engine, partial(sweep, blobs=self._blobs, hashes=portion), patience=0.0)
            del self._forgotten[:PORTION]

    def _leases_count(self) -> bool:
        """Whether a lease that has run out tells of a lost worker.

        Not for two heartbeats after the database's clock was set forward, or the machine slept, by half a lease: our
        own clock shows neither, and those who hold the leases have to get the chance to renew them.
        """
        there, here = retrying(self._engine, clock.read, patience=0.0), time.monotonic()
        if self._clocks is not None:
            ahead = (there - self._clocks[0]).total_seconds() - (here - self._clocks[1])
            if ahead > self._lease_seconds / 2:
                logger.warning("the database's clock has jumped by %.0f s: leases are looked at again later", ahead)
                self._reap_from = here + 2 * self._heartbeat_seconds
        self._clocks = there, here
        return here >= self._reap_from

    def _go(self) -> None:
        while not self._stopping.is_set():
            try:
                self.round()
                self.sweep()
                if self._alive_file is not None:
                    self._alive_file.touch()
            except (DatabaseUnreachable, BrokerUnreachable) as error:
                logger.warning("no round: %s", error)
            except Exception:  # this thread has to outlive whatever one round meets
                logger.exception("a round failed")
            self._stopping.wait(self._every)
