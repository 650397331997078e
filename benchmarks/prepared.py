"""A process that is set up as a worker's child is."""

import os
import sys

from core.settings import prepare_process


def start_again_as_a_worker_would(module: str) -> None:
    """`python -m module`, with the same words and `--prepared`: allocator and threads are set before torch loads."""
    environment = dict(os.environ)
    prepare_process(len(os.sched_getaffinity(0)), environment)
    os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:], "--prepared"], environment)
