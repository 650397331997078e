"""Threads for loops of small operators: to share one out takes longer than to do it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SHARED = 200_000
"""Multiplications of an operator from which on it is worth sharing out (measured: some 5 us on one core)."""


@contextmanager
def sized(multiplications: int) -> Iterator[None]:
    """Runs a loop on one thread of the CPU where its largest operator has few multiplications.

    Numbers depend on it in their last bits alone. It is for the process, so for the one thread of Python that computes.
    """
    before = torch.get_num_threads()
    if multiplications >= SHARED or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
