"""A slot runs one experiment at a time: claim, start a child, watch it, write down how it ended."""

import logging
import threading
from functools import partial

from core.errors import DatabaseUnreachable
from core.settings import Settings
from core.store.claiming import Claim, claim
from core.store.engine import Engine
from core.store.finishing import Budget
from core.store.retrying import retrying
from worker.ending import Ending, transition
from worker.heartbeat import Heartbeat
from worker.order import Order, Report
from worker.process import Child
from worker.supervise import MIB, Limits, supervise

logger = logging.getLogger(__name__)

REST = 4
"""A slot whose system failed waits so many times as long as the experiment that it lost."""
MOST_DOUBLED = 20
"""Losses in a row after which that grows no more, if it has not come to the longest backoff before."""


class Slot:
    """A place to run experiments, with a device.

    Args:
        name: host, process and number, as it is stored with attempts.
        device: `cpu` or, for example, `cuda:0`.
        threads: threads of a child.
        engine: connections, shared with the worker's other slots.
        settings: the worker's.
        stopping: set when the worker is to end.
        memory: bytes of main memory that an experiment may take unless its spec says otherwise.
    """

    def __init__(
        self,
        name: str,
        device: str,
        threads: int,
        engine: Engine,
        settings: Settings,
        stopping: threading.Event,
        memory: int,
    ) -> None:
        self.name, self.device = name, device
        self._threads, self._engine, self._settings, self._stopping = threads, engine, settings, stopping
        self._memory = memory
        self._system_losses = 0
        """Since the last success."""

    def drain(self) -> int:
        """Runs experiments until there is none left for this slot, or the worker stops; returns how many."""
        count = 0
        while not self._stopping.is_set():
            try:
                claimed = self._claim()
                if claimed is None:
                    break
                count += 1
                self._rest(self._run(claimed))
            except DatabaseUnreachable as error:
                logger.warning("%s: %s", self.name, error)
                break
        return count

    def _claim(self) -> Claim | None:
        take = partial(claim, slot=self.name, device=self.device, lease_seconds=self._settings.lease_seconds)
        return retrying(self._engine, take, patience=0.0)

    def _rest(self, ended: Report | None) -> None:
        """Waits after a failure of the system, such as a full disk: else it would fail the whole queue meanwhile."""
        if ended is not None and ended.outcome == "succeeded":
            self._system_losses = 0
        elif ended is not None and ended.outcome == "lost" and ended.data["code"] == "system":
            self._system_losses = min(self._system_losses + 1, MOST_DOUBLED)
            wait = Budget(0, REST * self._settings.backoff_seconds).wait(self._system_losses)
            logger.warning("%s: claims nothing for %g s: %s", self.name, wait, ended.data["message"])
            self._stopping.wait(wait)

    def _run(self, claimed: Claim) -> Report | None:
        settings = self._settings
        logger.info("%s attempt %d: starts on %s", claimed.experiment_id, claimed.attempt, claimed.device)
        heartbeat = Heartbeat(
            self._engine,
            claimed,
            lease_seconds=settings.lease_seconds,
            heartbeat_seconds=settings.heartbeat_seconds,
        )
        heartbeat.start()
        try:
            ending = self._run_child(claimed, heartbeat, self._limits(claimed))
            self._write(claimed, ending)
            return ending.report
        except DatabaseUnreachable:
            raise
        except Exception as error:  # a fault of ours: the experiment is not to wait for the end of its lease
            logger.exception("%s attempt %d: could not be watched", claimed.experiment_id, claimed.attempt)
            report = Report.broken(error)
            self._write(claimed, Ending(report, None, "not watched", self._limits(claimed), 0))
            return report
        finally:
            heartbeat.stop()

    def _run_child(self, claimed: Claim, heartbeat: Heartbeat, limits: Limits) -> Ending:
        order = Order(
            claimed.experiment_id, claimed.attempt, claimed.spec, claimed.device, self._threads, self._settings
        )
        try:
            child = Child(order)
        except EOFError as error:  # the fork server died; the next child starts it again
            return Ending(None, None, f"not started: {error}", limits, 0)
        try:
            reason = supervise(child, heartbeat, limits, self._stopping.is_set)
            return Ending(child.report, reason, child.describe_end(), limits, child.occupied)
        finally:
            child.close()

    def _limits(self, claimed: Claim) -> Limits:
        resources = claimed.spec["resources"]
        memory = resources["memory_limit"]
        return Limits(
            time=resources["time_limit"],
            memory=self._memory if memory is None else memory * MIB,
            shared=memory is None,
            abandon=self._settings.abandon_seconds,
            grace=self._settings.grace_seconds,
        )

    def _write(self, claimed: Claim, ending: Ending) -> None:
        budget = Budget(self._settings.infrastructure_attempts, self._settings.backoff_seconds)
        action = transition(claimed, ending, budget)
        # When the database stays away for longer than the lease, the reaper will do it.
        status = retrying(self._engine, action, patience=self._settings.lease_seconds)
        logger.info("%s attempt %d: %s", claimed.experiment_id, claimed.attempt, status or "fenced, nothing written")
