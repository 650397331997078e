"""Interleaved timing: all candidates in every round, in shuffled order, medians and ratios to the first."""

import random
import statistics
import time
from collections.abc import Callable, Mapping


def interleaved(candidates: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 2) -> dict[str, float]:
    """Median seconds of each candidate; each round runs all of them once, in an order of its own."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    order = list(candidates)
    for turn in range(warmup + rounds):
        random.shuffle(order)
        for name in order:
            start = time.perf_counter()
            candidates[name]()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def table(title: str, medians: Mapping[str, float]) -> str:
    """Lines with the median in milliseconds and the ratio to the first candidate, the baseline."""
    baseline = next(iter(medians.values()))
    width = max(map(len, medians))
    rows = [f"  {name:<{width}}  {1e3 * value:9.2f} ms  {value / baseline:6.2f} x" for name, value in medians.items()]
    return "\n".join([title, *rows])
