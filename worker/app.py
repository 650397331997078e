"""The worker: Celery's thread pool hears hints, one thread a slot; no torch in this process."""

import logging
import os
import queue
import socket
import threading
from collections.abc import Callable
from typing import Any

import psutil
from celery import bootsteps, signals

from core.queue import TASK, make_queue
from core.settings import Settings, prepare_process
from core.store.engine import make_engine
from worker.devices import devices
from worker.process import start_fork_server
from worker.reaper import Reaper
from worker.slot import Slot

logger = logging.getLogger(__name__)


class Worker:
    """Slots, the reaper, and the Celery app that wakes the slots."""

    def __init__(self, settings: Settings) -> None:
        self.stopping = threading.Event()
        found = devices(settings.devices)
        count = settings.slots or len(found)
        threads = settings.threads or max(1, _cores() // count)
        prepare_process(threads)
        start_fork_server()
        engine = make_engine(settings.database_url.get_secret_value(), pool_size=count + 2, name="bilevel worker")
        who = f"{socket.gethostname()}/{os.getpid()}"
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        memory = psutil.virtual_memory().total * 9 // 10 // count
        for number in range(count):
            device = found[number % len(found)]
            self._free.put(Slot(f"{who}/{number}", device, threads, engine, settings, self.stopping, memory))
        self.slots = count
        self.queue = make_queue(settings.broker_url.get_secret_value())
        self.queue.conf.worker_redirect_stdouts = False
        self.queue.task(name=TASK)(self._work)
        self.queue.steps["worker"].add(_giving_back(self.stopping))
        self._asked = False
        self._reaper = Reaper(engine, self.queue, settings, self.stopping)
        logger.info("%s: %d slots on %s, %d threads each", who, count, ", ".join(found), threads)

    def serve(self) -> int:
        """Works until SIGTERM or SIGINT, which give running experiments back first.

        Returns:
            The exit status: 1 if Celery ended by itself, so that whoever watches starts the worker again.
        """
        signals.worker_shutting_down.connect(self._shut_down)
        signals.setup_logging.connect(_leave_logging)
        self._reaper.start()
        arguments = [f"--concurrency={self.slots}", f"--hostname=bilevel-{os.getpid()}@%h", "--loglevel=INFO"]
        without = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        work: Callable[[list[str]], object] = self.queue.worker_main  # it returns, whatever its stub says
        work(["--quiet", "worker", "--pool=threads", *arguments, *without])
        return 0 if self._asked else 1

    def _work(self) -> None:
        slot = self._free.get_nowait()
        try:
            slot.drain()
        finally:
            self._free.put(slot)

    def _shut_down(self, **_: Any) -> None:
        self._asked = True
        self.stopping.set()


def _giving_back(stopping: threading.Event) -> type[bootsteps.StartStopStep]:
    """What Celery does when it ends, of itself, too, before it waits for the slots: they give back what they run."""

    class GiveBack(bootsteps.StartStopStep):
        requires = ("celery.worker.components:Pool",)

        def close(self, worker: object) -> None:
            stopping.set()

    return GiveBack


def _leave_logging(**_: Any) -> None:
    """Keeps Celery from setting up logging of its own."""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
