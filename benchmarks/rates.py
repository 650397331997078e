"""Rates of this machine, one thread, as a plan takes them: `python -m benchmarks rates > rates.json`."""

import time
from collections.abc import Callable

import psutil
import torch

from core.bilevel.derivatives import gradient
from core.planning import DEVICES, Device

SIDE, LENGTH, SMALL_STEPS = 1024, 2**24, 100
GRADIENT_OPERATORS = 16
"""What a plan counts for a gradient step of a small quadratic."""


def measure_rates(rounds: int = 15) -> Device:
    """The best of some rounds, which others slow down least, in about two seconds; memory is what the machine has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return Device(
            name="this machine",
            operations_per_second=2 * SIDE**3 / _quickest(_product(torch.float32), rounds),
            bf16_operations_per_second=2 * SIDE**3 / _quickest(_product(torch.bfloat16), rounds),
            bytes_per_second=12 * LENGTH / _quickest(_sum(), rounds),
            operator_seconds=_quickest(_steps(), rounds) / (SMALL_STEPS * GRADIENT_OPERATORS),
            process_mb=DEVICES["cpu"].process_mb,
            memory_mb=round(0.9 * psutil.virtual_memory().total / 2**20),
        )
    finally:
        torch.set_num_threads(threads)


def _quickest(call: Callable[[], object], rounds: int) -> float:
    call()
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return min(seconds)


def _product(dtype: torch.dtype) -> Callable[[], object]:
    a, out = torch.rand(SIDE, SIDE).to(dtype), torch.empty(SIDE, SIDE, dtype=dtype)
    return lambda: torch.mm(a, a, out=out)


def _sum() -> Callable[[], object]:
    a, out = torch.rand(LENGTH), torch.empty(LENGTH)
    return lambda: torch.add(a, a, out=out)


def _steps() -> Callable[[], object]:
    matrix = torch.eye(20)

    def objective(w: torch.Tensor) -> torch.Tensor:
        return torch.dot(w, 0.5 * (matrix @ w) - matrix @ w - w)

    slope = gradient(objective)

    def walk() -> torch.Tensor:
        w = torch.ones(20)
        with torch.no_grad():
            for _ in range(SMALL_STEPS):
                w = w - 0.1 * slope(w)
        return w

    return walk


def main(rounds: int) -> None:
    """Prints the rates as JSON."""
    print(measure_rates(rounds).model_dump_json(indent=2))
