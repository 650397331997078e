"""Interleaved measurement: all candidates in every round, in shuffled order, medians and ratios to the first."""

import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import psutil

from benchmarks.memory import peak_mb

QUIET = 0.15
"""Share of one core that other processes may use when a round begins."""
PATIENCE = 30.0
"""Seconds that a round waits for the machine to be quiet, before it is measured anyway."""

Candidates = Mapping[str, Callable[[], object]]
"""Implementation -> a call that does all of the work; the first is the baseline."""


class Row(NamedTuple):
    """One implementation of one workload."""

    workload: str
    settings: str
    implementation: str
    median_s: float
    ratio_to_floor: float
    """To the first implementation of the same rounds."""
    peak_mb: float | None
    """Over what the process held before."""


class Comparison(NamedTuple):
    """The implementations of one workload, measured together."""

    rows: list[Row]
    quiet: bool
    """Whether other processes left the machine alone in every round."""

    def __str__(self) -> str:
        head = self.rows[0]
        width = max(len(row.implementation) for row in self.rows)
        lines = [
            f"  {row.implementation:<{width}}  {1e3 * row.median_s:10.2f} ms  {row.ratio_to_floor:7.2f} x"
            + ("" if row.peak_mb is None else f"  {row.peak_mb:8.1f} MB")
            for row in self.rows
        ]
        noise = [] if self.quiet else ["  (other processes were busy: read with care)"]
        return "\n".join([f"{head.workload}, {head.settings}", *lines, *noise])


def compare(workload: str, settings: str, candidates: Candidates, rounds: int) -> Comparison:
    """Measures the candidates; each round runs all of them once, in an order of its own."""
    medians, quiet = _rounds(candidates, rounds)
    baseline = next(iter(medians.values()))
    rows = [
        Row(workload, settings, name, median, median / baseline, peak_mb(candidates[name]))
        for name, median in medians.items()
    ]
    return Comparison(rows, quiet)


def _rounds(candidates: Candidates, rounds: int, warmup: int = 2) -> tuple[dict[str, float], bool]:
    """Median seconds of each candidate, and whether the machine was quiet."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    order, quiet = list(candidates), True
    for turn in range(warmup + rounds):
        quiet &= turn < warmup or wait_for_quiet()
        random.shuffle(order)
        for name in order:
            start = time.perf_counter()
            candidates[name]()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}, quiet


def wait_for_quiet() -> bool:
    """Waits until other processes leave the cores alone: one of them slows two-thread loops of small operators 40 x."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if psutil.cpu_percent(0.1) * len(psutil.Process().cpu_affinity() or [0]) / 100 < QUIET:
            return True
    return False
