"""Slots that share a machine: two experiments at once, with a core each, against one alone.

A slot here is a process that was set up as a worker sets up its children; it counts few-shot hyperiterations until its
time is over. Medians are seconds a hyperiteration of all slots together.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import IO, cast

from benchmarks.measure import Comparison, Row, wait_for_quiet
from core.settings import prepare_process

SECONDS = 4.0
"""How long the slots of a trial run, once all have warmed up."""
SETTING = {"way": 5, "shot": 1, "meta_batch": 4}
STEPS = 16
TRIALS = {
    "one slot, 1 thread": (1, 1),
    "one slot, 2 threads": (1, 2),
    "two slots, 1 thread each": (2, 1),
}
"""Name -> slots, threads a slot; the first is the baseline."""


def main(rounds: int) -> Iterator[Comparison]:
    """Trials one after the other, in every round."""
    seconds: dict[str, list[float]] = {name: [] for name in TRIALS}
    quiet = True
    for _ in range(max(1, rounds // 3)):
        for name, (slots, threads) in TRIALS.items():
            quiet &= wait_for_quiet()
            seconds[name].append(trial(slots, threads))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    baseline = next(iter(medians.values()))
    settings = f"5-way 1-shot, meta-batch {SETTING['meta_batch']}, T = {STEPS}, {len(os.sched_getaffinity(0))} cores"
    rows = [Row("slots", settings, name, median, median / baseline, None) for name, median in medians.items()]
    yield Comparison(rows, quiet)


def trial(slots: int, threads: int) -> float:
    """Seconds a hyperiteration, of all slots together."""
    environment = dict(os.environ)
    prepare_process(threads, environment)
    command = [sys.executable, "-m", "benchmarks.slots"]
    started = [
        subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(slots)
    ]
    for process in started:
        if _read(process) != "ready":
            raise RuntimeError("a slot ended before it was ready: see its error above")
    for process in started:
        cast("IO[str]", process.stdin).close()  # all of them go on together
    rates = [float(_read(process)) for process in started]
    for process in started:
        process.wait()
    return 1 / sum(rates)


def _read(process: "subprocess.Popen[str]") -> str:
    return cast("IO[str]", process.stdout).readline().strip()


def slot() -> None:
    """Warms up, waits for the others, and says how many hyperiterations a second it made."""
    from benchmarks.few_shot import state, whole_loop  # loads torch, which the parent does without

    hyperiterate = whole_loop(state(SETTING, STEPS))
    for _ in range(3):
        hyperiterate()
    print("ready", flush=True)
    sys.stdin.read()
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        hyperiterate()
        count += 1
    print(count / (time.perf_counter() - started), flush=True)


if __name__ == "__main__":
    slot()
