"""The worker's second duty: takes back expired leases, and rings again for experiments that nobody claimed."""

import logging
import threading
from functools import partial

from celery import Celery

from core.errors import BrokerUnreachable, DatabaseUnreachable
from core.queue import ring, unheard
from core.settings import Settings
from core.store.claiming import due
from core.store.engine import Engine
from core.store.finishing import Budget
from core.store.reaping import reap
from core.store.retrying import retrying

logger = logging.getLogger(__name__)

MOST_HINTS = 16
"""Rung in one round at most; a slot that hears one goes on until nothing is left."""


class Reaper:
    """A thread that makes a round every `reap_seconds`; any number of workers may have one."""

    def __init__(self, engine: Engine, queue: Celery, settings: Settings, stopping: threading.Event) -> None:
        self._engine, self._queue, self._stopping = engine, queue, stopping
        self._every = settings.reap_seconds
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
        for reaped in retrying(self._engine, partial(reap, budget=self._budget), patience=0.0):
            logger.warning("%s attempt %d: lease expired, now %s", *reaped)
        waiting = retrying(self._engine, partial(due, limit=MOST_HINTS), patience=0.0)
        if waiting and not unheard(self._queue):
            for _ in range(waiting):
                ring(self._queue)

    def _go(self) -> None:
        while not self._stopping.is_set():
            try:
                self.round()
            except (DatabaseUnreachable, BrokerUnreachable) as error:
                logger.warning("no round: %s", error)
            except Exception:  # this thread has to outlive whatever one round meets
                logger.exception("a round failed")
            self._stopping.wait(self._every)
