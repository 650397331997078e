"""The bell for the workers: hints leave one at a time, however many submissions ask for one."""

import logging
import threading
from collections.abc import Callable

from core.errors import BrokerUnreachable

logger = logging.getLogger("api.bell")


class Bell:
    """Sends hints from the thread of whoever asked first, so that a broker that hangs holds one thread and no more.

    Args:
        ring: sends one; raises BrokerUnreachable.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring, self._lock, self._owed = ring, threading.Lock(), 0

    def __call__(self) -> None:
        """Rings once for this call, or leaves that to the thread that rings at the moment.

        Where the broker does not answer, nobody is rung for: the reaper rings later.
        """
        with self._lock:
            self._owed += 1
            more = self._owed == 1
        while more:
            more = self._once()

    def _once(self) -> bool:
        """Rings; whether somebody has asked meanwhile."""
        rung = False
        try:
            self._ring()
            rung = True
        except BrokerUnreachable as error:
            logger.warning("%s", error)
        finally:
            with self._lock:
                self._owed = self._owed - 1 if rung else 0
                more = self._owed > 0
        return more
