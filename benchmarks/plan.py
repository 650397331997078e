"""Plans against measurements: rates of this machine, then memory and time of every method, planned and measured."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from benchmarks.rates import measure_rates
from core.datasets.catalog import require
from core.errors import DataMissing
from core.planning import plan
from core.settings import prepare_process, settings
from core.spec import Experiment

HYPERITERATIONS = 5
MEMORY_BOUND, TIME_BOUND = 1.2, 2.0
"""Factors that a plan may be off by."""
CLEANING = {"kind": "hyper_cleaning", "final_steps": 1}
MNIST = {**CLEANING, "dataset": {"kind": "mnist"}, "train": 5000, "validation": 5000}
MLP = {"kind": "regularization", "dataset": {"kind": "digits"}, "model": {"kind": "mlp", "hidden": [256, 256]}}
CANCER = {"kind": "regularization", "dataset": {"kind": "breast_cancer"}, "strength": "feature"}
FEW_SHOT = {"kind": "hyper_representation", "meta_batch": 4}


class Case(NamedTuple):
    """A setting to plan and to measure."""

    name: str
    problem: Mapping[str, Any]
    steps: int
    hypergradient: Mapping[str, Any]
    dynamics: str = "gradient_descent"
    precision: str = "float32"
    algorithm: Mapping[str, Any] | None = None

    def spec(self) -> Experiment:
        """The experiment: few hyperiterations, and only the evaluations that there are always."""
        nested = {"steps": self.steps, "hypergradient": self.hypergradient, "dynamics": {"kind": self.dynamics}}
        algorithm = {**(self.algorithm or nested), "hyperiterations": HYPERITERATIONS}
        evaluation = {"every": HYPERITERATIONS, "episodes": 8}
        resources = {"precision": self.precision}
        return Experiment.model_validate(
            {"problem": self.problem, "algorithm": algorithm, "evaluation": evaluation, "resources": resources}
        )


def cases() -> Iterator[Case]:
    """Every hypergradient, solver and dynamics; every problem; small, where operators decide, and large."""
    reverse: dict[str, Any] = {"kind": "reverse"}
    # A plan counts as many products as are allowed: here all of them are made.
    implicit = {"kind": "implicit", "solver": {"kind": "cg", "iterations": 20, "tolerance": 0}}
    for problem, steps, dynamics in (
        ({"kind": "quadratic"}, 100, "gradient_descent"),
        ({**MLP, "strength": "layer"}, 30, "gradient_descent"),
        (CANCER, 200, "gradient_descent"),
        (CANCER, 200, "nesterov"),
    ):
        label = f"{problem['kind']} {problem.get('strength', '')} {dynamics}"
        for method in ("unrolled", "reverse", "forward", "random_forward"):
            yield Case(f"{label}: {method}", problem, steps, {"kind": method}, dynamics)
        yield Case(f"{label}: implicit", problem, steps, implicit, dynamics)
    yield Case("quadratic 1000: reverse", {"kind": "quadratic", "inner_dimension": 1000}, 50, reverse)
    yield Case("quadratic: exact", {"kind": "quadratic"}, 100, {"kind": "exact"})
    yield Case("random quadratics: reverse", {"kind": "random_quadratics"}, 100, reverse)
    yield Case("cleaning of digits: unrolled", CLEANING, 1000, {"kind": "unrolled"})
    yield Case("cleaning of digits: reverse", CLEANING, 1000, reverse)
    yield Case("cleaning of mnist: unrolled", MNIST, 100, {"kind": "unrolled"})
    yield Case("cleaning of mnist: reverse", MNIST, 100, reverse)
    yield Case(
        "cleaning of mnist: implicit",
        MNIST,
        50,
        implicit,
    )
    for extra in ({"segment": 20}, {"segment": "auto"}, {"truncate": 50}, {"snapshots": 5}):
        name = ", ".join(f"{key} {value}" for key, value in extra.items())
        yield Case(f"mlp: reverse, {name}", {**MLP, "strength": "layer"}, 100, {**reverse, **extra})
    for kind in ("heavy_ball", "adam", "adamw", "rmsprop"):
        yield Case(f"mlp: reverse, {kind}", {**MLP, "strength": "layer"}, 50, reverse, kind)
        yield Case(f"mlp: unrolled, {kind}", {**MLP, "strength": "layer"}, 50, {"kind": "unrolled"}, kind)
    yield Case("mlp: reversible", {**MLP, "strength": "layer"}, 50, {"kind": "reversible"}, "heavy_ball")
    yield Case("quadratic: reversible", {"kind": "quadratic"}, 100, {"kind": "reversible"}, "heavy_ball")
    no_offset = {**CANCER, "model": {"kind": "linear", "bias": False}}
    for solver in ("neumann", "fixed_point", "dense"):
        yield Case(f"cancer: implicit, {solver}", no_offset, 100, {"kind": "implicit", "solver": {"kind": solver}})
    yield Case("cancer: line search", CANCER, 100, {"kind": "implicit"}, "line_search")
    yield Case("cancer: forward, 5 at a time", CANCER, 100, {"kind": "forward", "chunk": 5})
    ridge = {"kind": "regularization", "dataset": {"kind": "mnist"}, "loss": "squared", "strength": "feature"}
    yield Case("ridge on mnist: exact", ridge, 1, {"kind": "exact"})
    yield Case("cleaning, float64: unrolled", CLEANING, 1000, {"kind": "unrolled"}, "gradient_descent", "float64")
    for steps, method in ((4, "reverse"), (64, "reverse"), (16, "unrolled")):
        yield Case(f"few-shot, T = {steps}: {method}", FEW_SHOT, steps, {"kind": method})
    yield Case("few-shot, segments", FEW_SHOT, 16, {**reverse, "segment": 4})
    yield Case("few-shot, 16 tasks", {**FEW_SHOT, "meta_batch": 16}, 4, reverse)
    yield Case("few-shot, 16 tasks, 2 at a time", {**FEW_SHOT, "meta_batch": 16, "task_chunk": 2}, 4, reverse)
    yield Case("few-shot, bf16", FEW_SHOT, 4, reverse, "gradient_descent", "bf16")
    yield Case("few-shot, mlp", {**FEW_SHOT, "model": {"kind": "mlp", "hidden": [256, 64]}}, 16, reverse)
    yield Case(
        "few-shot, implicit",
        {**FEW_SHOT, "l2": 0.01},
        16,
        implicit,
    )
    yield Case("real time", CANCER, 0, {}, algorithm={"kind": "real_time", "interval": 10})
    for kind in ("soba", "ma_soba", "saba", "srba", "stocbio", "amigo", "ttsa", "f2sa", "bome", "pbgd"):
        yield Case(f"{kind}: cancer", CANCER, 0, {}, algorithm={"kind": kind})
        yield Case(f"{kind}: cleaning", MNIST, 0, {}, algorithm={"kind": kind})


class Check(NamedTuple):
    """Planned over measured."""

    name: str
    planned_mb: float
    measured_mb: float
    planned_seconds: float
    measured_seconds: float

    @property
    def memory_ratio(self) -> float:
        """Planned over measured memory."""
        return self.planned_mb / self.measured_mb

    @property
    def time_ratio(self) -> float:
        """Planned over measured time."""
        return self.planned_seconds / self.measured_seconds

    def __str__(self) -> str:
        memory, time = self.memory_ratio, self.time_ratio
        off = "" if _within(memory, MEMORY_BOUND) and _within(time, TIME_BOUND) else "  <--"
        return (
            f"{self.name:<48} {self.planned_mb:7.0f} {self.measured_mb:7.0f} MB {memory:5.2f}"
            f"   {1e3 * self.planned_seconds:9.1f} {1e3 * self.measured_seconds:9.1f} ms {time:5.2f}{off}"
        )


def _within(ratio: float, bound: float) -> bool:
    return 1 / bound <= ratio <= bound


def main(rounds: int, only: str = "") -> None:
    """Prints a line a case: planned, measured, planned over measured, of memory and of time."""
    device = measure_rates()
    print(device.model_dump_json(indent=2), end="\n\n")
    print(f"{'':<48} planned measured   ratio     planned  measured    ratio")
    checks = []
    for case in cases():
        if only not in case.name:
            continue
        spec = case.spec()
        try:
            require(spec.problem, settings().data_dir)
        except DataMissing as missing:
            print(f"{case.name:<48} {missing}")
            continue
        planned, measured = plan(spec, device), measure(spec)
        if planned.memory is None or planned.time is None:
            print(f"{case.name:<48} {planned.verdict}")
            continue
        numbers = planned.memory.peak_mb, measured["peak_mb"], planned.time.hyperiteration_seconds, measured["seconds"]
        checks.append(Check(case.name, *numbers))
        print(checks[-1], flush=True)
    memory = sum(_within(check.memory_ratio, MEMORY_BOUND) for check in checks)
    time = sum(_within(check.time_ratio, TIME_BOUND) for check in checks)
    print(f"\nof {len(checks)}: memory within 20 % {memory}, time within a factor of 2 {time}")


def measure(spec: Experiment) -> dict[str, float]:
    """Peak and seconds of a run in a process of its own, as a worker's child with one thread."""
    environment = dict(os.environ)
    prepare_process(1, environment)
    command = [sys.executable, "-m", "benchmarks.measured_run", spec.model_dump_json()]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise RuntimeError(answer.stderr)
    found: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return found
