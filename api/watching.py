"""Who waits for which experiment: one LISTEN connection a process, however many clients wait."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from core.store.listening import Disconnected, listening

logger = logging.getLogger("api.watching")

LONGEST_SLEEP = 10.0
"""Seconds after which a waiter looks at the row although nobody told it to."""
LONGEST_BACKOFF = 5.0
"""Seconds between attempts to connect again, at most."""


class Watch:
    """Wakes those who wait for an experiment when Postgres tells of its change.

    After a lost connection everybody is woken, since changes may have passed unheard; and nobody sleeps for
    longer than `LONGEST_SLEEP`, so that even without the connection everything arrives, only later.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: dict[UUID, set[asyncio.Event]] = {}
        self.connected = asyncio.Event()
        """Set while the connection stands."""

    async def run(self) -> None:
        """Listens until it is cancelled; connects again as often as it has to."""
        backoff = 0.1
        while True:
            try:
                async with listening(self._url) as changes:
                    self.connected.set()
                    self._wake_all()
                    backoff = 0.1
                    async for experiment_id in changes:
                        self._wake(experiment_id)
            except Disconnected as error:
                logger.warning("not listening to Postgres, next attempt in %.1f s: %s", backoff, error)
            except Exception:  # whoever waits looks less often; nobody would be told why
                logger.exception("not listening to Postgres, next attempt in %.1f s", backoff)
            finally:
                self.connected.clear()
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF)

    @contextmanager
    def waiting(self, experiment_id: UUID) -> Iterator[asyncio.Event]:
        """An event that is set at each change of the experiment from now on; look at the row after entering."""
        changed = asyncio.Event()
        waiters = self._waiting.setdefault(experiment_id, set())
        waiters.add(changed)
        try:
            yield changed
        finally:
            waiters.discard(changed)
            if not waiters:
                self._waiting.pop(experiment_id, None)

    def _wake(self, experiment_id: UUID) -> None:
        for changed in self._waiting.get(experiment_id, ()):
            changed.set()

    def _wake_all(self) -> None:
        for waiters in self._waiting.values():
            for changed in waiters:
                changed.set()


async def sleep_until(changed: asyncio.Event, seconds: float) -> None:
    """Returns when the event is set, or after so many seconds (at most `LONGEST_SLEEP`); clears the event."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(changed.wait(), min(seconds, LONGEST_SLEEP))
    changed.clear()
