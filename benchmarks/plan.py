"""Plans against measurements: rates of this machine, then memory and time of every method, planned and measured.

`python -m benchmarks plan [--only PART_OF_A_NAME] [--publish]`; what is run in pieces is kept in
benchmarks/out/plans.json, and published together.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.plan_cases import Case, cases
from benchmarks.publish import made_with
from benchmarks.rates import measure_rates
from core.datasets.finding import require
from core.environment import environment
from core.errors import DataMissing
from core.planning import Device, plan
from core.settings import prepare_process, settings
from core.spec import Experiment

MEMORY_BOUND, TIME_BOUND = 1.2, 2.0
"""Factors that a plan may be off by."""
MUCH_MB = 100.0
"""Above the process; from there on the part above it is judged by itself too."""
OUT = Path(__file__).parent / "out" / "plans.json"
COMPARED = ("measured", "ratio")
HEAD = ("case", "planned, MB", *COMPARED, "above", "planned, ms", *COMPARED, "evaluation planned, ms", *COMPARED)
PAGE = Path(__file__).parents[1] / "docs" / "results" / "plans.md"


class Check(NamedTuple):
    """Planned and measured; `process_mb` is what the plan takes the process for."""

    name: str
    process_mb: float
    planned_mb: float
    measured_mb: float
    planned_seconds: float
    measured_seconds: float
    planned_evaluation: float
    measured_evaluation: float

    @property
    def memory_ratio(self) -> float:
        """Planned over measured memory."""
        return self.planned_mb / self.measured_mb

    @property
    def above_ratio(self) -> float | None:
        """The same of what is above the process; None where that is not much."""
        above = self.measured_mb - self.process_mb
        return (self.planned_mb - self.process_mb) / above if above >= MUCH_MB else None

    @property
    def time_ratio(self) -> float:
        """Planned over measured time of a hyperiteration."""
        return self.planned_seconds / self.measured_seconds

    @property
    def evaluation_ratio(self) -> float:
        """Planned over measured time of an evaluation."""
        return self.planned_evaluation / self.measured_evaluation

    @property
    def within(self) -> bool:
        """Whether memory and time of a hyperiteration are within the bounds."""
        return _within(self.memory_ratio, MEMORY_BOUND) and _within(self.time_ratio, TIME_BOUND)

    def __str__(self) -> str:
        return (
            f"{self.name:<52} {self.planned_mb:6.0f} {self.measured_mb:6.0f} MB {self.memory_ratio:5.2f}"
            f"   {1e3 * self.planned_seconds:8.1f} {1e3 * self.measured_seconds:8.1f} ms {self.time_ratio:5.2f}"
            f"{'' if self.within else '  <--'}"
        )


def _within(ratio: float, bound: float) -> bool:
    return 1 / bound <= ratio <= bound


def main(rounds: int, *, only: str = "", publish: bool = False) -> None:
    """Prints a line a case: planned, measured, planned over measured, of memory and of time of a hyperiteration."""
    device = measure_rates()
    print(device.model_dump_json(indent=2), end="\n\n")
    print(f"{'':<52} planned measured  ratio    planned measured   ratio")
    checks = []
    for case in cases():
        if only in case.name and (found := _check(case, device)) is not None:
            checks.append(found)
            _keep(found)
            print(found, flush=True)
    print(f"\n{_summary(checks)}")
    if publish:
        kept = _kept()
        PAGE.write_text(_page([kept[case.name] for case in cases() if case.name in kept], device))


def _check(case: Case, device: Device) -> Check | None:
    spec = case.spec()
    try:
        require(spec.problem, settings().data_dir)
    except DataMissing as missing:
        print(f"{case.name:<52} {missing}")
        return None
    planned, measured = plan(spec, device), measure(spec)
    assert planned.memory is not None, planned.verdict
    assert planned.time is not None, planned.verdict
    return Check(
        case.name,
        device.process_mb,
        planned.memory.peak_mb,
        measured["peak_mb"],
        planned.time.hyperiteration_seconds,
        measured["seconds"],
        planned.time.evaluation_seconds,
        measured["evaluation_seconds"],
    )


def measure(spec: Experiment) -> dict[str, float]:
    """Peak and seconds of a run in a process of its own, as a worker's child with one thread."""
    variables = dict(os.environ)
    prepare_process(1, variables)
    command = [sys.executable, "-m", "benchmarks.measured_run", spec.model_dump_json()]
    answer = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise RuntimeError(f"exit status {answer.returncode}: {answer.stderr}")
    found: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return found


def _keep(found: Check) -> None:
    """In the place of the last one of its case."""
    OUT.parent.mkdir(exist_ok=True)
    kept = _kept() | {found.name: found}
    OUT.write_text(json.dumps([check._asdict() for check in kept.values()], indent=1))


def _kept() -> dict[str, Check]:
    return {row["name"]: Check(**row) for row in json.loads(OUT.read_text())} if OUT.exists() else {}


def _summary(checks: list[Check]) -> str:
    memory = sum(_within(check.memory_ratio, MEMORY_BOUND) for check in checks)
    time = sum(_within(check.time_ratio, TIME_BOUND) for check in checks)
    evaluations = sum(_within(check.evaluation_ratio, TIME_BOUND) for check in checks)
    above = [ratio for check in checks if (ratio := check.above_ratio) is not None]
    close = sum(_within(ratio, MEMORY_BOUND) for ratio in above)
    return (
        f"Of {len(checks)} cases, memory is within 20 % in {memory}, the time of a hyperiteration within a factor of 2 "
        f"in {time}, that of an evaluation in {evaluations}. Of the {len(above)} that take {MUCH_MB:.0f} MB or more "
        f"above the process, that part alone is within 20 % in {close}."
    )


def _page(checks: list[Check], device: Device) -> str:
    made = made_with() | {"device": str(environment("cpu")["device_name"])}
    facts = ", ".join(f"{name} {value}" for name, value in made.items())
    rates = (
        f"{device.operations_per_second / 1e9:.0f} Gflop/s, {device.bytes_per_second / 1e9:.1f} GB/s, "
        f"{1e6 * device.operator_seconds:.1f} µs an operator"
    )
    missed = [check.name for check in checks if not check.within]
    lines = [
        "# Plans against measurements",
        "",
        "Written by `python -m benchmarks plan --publish`; how plans are reckoned is in [planning.md](../planning.md). "
        "Each case runs in a process of its own on one thread; time is the processor's, the mean of hyperiterations "
        "after the first. Ratios are planned over measured.",
        "",
        f"Made with: {facts} (of the checkout; the plans may be of changes on top of it). Rates measured by the run "
        f"that wrote this page: {rates}; the cases may have run in pieces, each with rates of its own. "
        f"{device.process_mb:.0f} MB of every peak are the process; `above` is the ratio of the rest, where that is "
        f"{MUCH_MB:.0f} MB or more.",
        "",
        _summary(checks) + (" Not within: " + ", ".join(missed) + "." if missed else " None is out of these bounds."),
        "",
        "| " + " | ".join(HEAD) + " |",
        "|---" * len(HEAD) + "|",
        *map(_row, checks),
    ]
    return "\n".join(lines) + "\n"


def _row(check: Check) -> str:
    above = "" if check.above_ratio is None else _bold(check.above_ratio, MEMORY_BOUND)
    cells = (
        check.name,
        f"{check.planned_mb:.0f}",
        f"{check.measured_mb:.0f}",
        _bold(check.memory_ratio, MEMORY_BOUND),
        above,
        f"{1e3 * check.planned_seconds:.2f}",
        f"{1e3 * check.measured_seconds:.2f}",
        _bold(check.time_ratio, TIME_BOUND),
        f"{1e3 * check.planned_evaluation:.2f}",
        f"{1e3 * check.measured_evaluation:.2f}",
        _bold(check.evaluation_ratio, TIME_BOUND),
    )
    return "| " + " | ".join(cells) + " |"


def _bold(ratio: float, bound: float) -> str:
    """Bold where it is out of the bounds."""
    return f"{ratio:.2f}" if _within(ratio, bound) else f"**{ratio:.2f}**"
