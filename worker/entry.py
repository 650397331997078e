"""The first steps of a child process: a process group of its own, and an end when the worker ends."""

import ctypes
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection

from worker.logs import configure
from worker.order import Order

PR_SET_PDEATHSIG = 1


def enter(order: Order, pipe: Connection) -> None:
    """Runs the order; SIGTERM asks it to write a checkpoint and stop."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the worker
    os.setsid()
    _die_with_parent()
    configure(f"child {order.experiment_id} attempt {order.attempt}")
    # By name: the slot imports this module, and has to stay free of torch.
    report = importlib.import_module("worker.child").work(order, stop.is_set)
    pipe.send_bytes(report.encode())
    pipe.close()


def _die_with_parent() -> None:
    if sys.platform == "linux":  # the parent proper is the fork server
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    threading.Thread(target=_watch_worker, name="worker watch", daemon=True).start()


def _watch_worker() -> None:
    worker = multiprocessing.parent_process()
    if worker is not None:
        worker.join()
        logging.getLogger(__name__).error("the worker is gone: ending")
        os._exit(1)
