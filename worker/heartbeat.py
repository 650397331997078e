"""Renews an attempt's lease from a thread of its own, so that a slow database never keeps the slot from its duties."""

import logging
import threading
import time

from core.errors import DatabaseUnreachable
from core.status import Status
from core.store.claiming import Claim
from core.store.engine import Engine
from core.store.leases import renew
from core.store.retrying import retrying

logger = logging.getLogger(__name__)


class Heartbeat:
    """Heartbeats of one attempt, from `start` to `stop`."""

    def __init__(self, engine: Engine, claim: Claim, *, lease_seconds: float, heartbeat_seconds: float) -> None:
        self._engine, self._claim = engine, claim
        self._lease_seconds, self._heartbeat_seconds = lease_seconds, heartbeat_seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._renewed_at = time.monotonic()
        self.status: Status | None = Status.RUNNING
        """What the row last said; None: the attempt is fenced."""

    def start(self) -> None:
        """Begins; the lease was granted a moment ago."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; does not wait for a database that does not answer."""
        self._done.set()
        self._thread.join(1.0)

    def age(self) -> float:
        """Seconds since the last heartbeat that succeeded was sent."""
        return time.monotonic() - self._renewed_at

    def _beat(self) -> None:
        while self.status is not None and not self._done.wait(self._heartbeat_seconds):
            sent_at = time.monotonic()
            try:
                self.status = retrying(
                    self._engine,
                    lambda session: renew(
                        session, self._claim.experiment_id, self._claim.attempt, lease_seconds=self._lease_seconds
                    ),
                    patience=0.0,
                )
            except DatabaseUnreachable as error:
                logger.warning("no heartbeat for %s: %s", self._claim.experiment_id, error)
            except Exception:  # this thread has to outlive whatever one heartbeat meets
                logger.exception("no heartbeat for %s", self._claim.experiment_id)
            else:
                self._renewed_at = sent_at
