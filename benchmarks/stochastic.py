"""Ten stochastic and first-order algorithms on the problems of benchopt's benchmark_bilevel, full-batch anchors beside.

`python -m benchmarks stochastic --rounds SEEDS` makes what is missing in benchmarks/out/stochastic/, one file an
algorithm and problem, and then docs/results/stochastic.md with its figures; `stochastic_quadratics` and so on make one
problem alone. It may be stopped at any time. One thread; seconds are the processor's, evaluations are not counted.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.stochastic_problems import CASES, Knobs, Measure, Values, least
from core.bilevel.problem import Algorithm
from core.build import build, build_algorithm, make_context
from core.inner import build_inner
from core.problems.instance import Instance
from core.settings import settings
from core.spec import Experiment
from core.spec.algorithms import Nested

OUT = Path(__file__).parent / "out" / "stochastic"
KINDS = ("saba", "soba", "ma_soba", "srba", "stocbio", "amigo", "ttsa", "f2sa", "pbgd", "bome")
CONSTANT: Knobs = {"inner_exponent": 0.0, "outer_exponent": 0.0}
FIXED: dict[str, Knobs] = {"soba": CONSTANT, "ma_soba": CONSTANT, "pbgd": {"batch": 64}}
"""What is the same on every problem: constant rates where variance reduction is compared with none."""
LIKE = {"soba": "saba", "ma_soba": "saba"}
"""Which takes the rates that were chosen for another: what is published are comparisons at equal constant rates."""
BATCH = 64
POINTS = 20
"""Evaluations of a run, denser at its beginning."""

LEAST = "least"
"""Name of the file with min h where it has no closed form."""

Found = dict[str, Any]
Curve = list[dict[str, float]]
"""Points with "hyperiteration", "calls", "seconds" and the measured values."""


class Setting(NamedTuple):
    """One problem with its data."""

    spec: Experiment
    instance: Instance
    measure: Measure


@cache
def setting(problem: str) -> Setting:
    """Loads it once; all algorithms and seeds share it."""
    spec = experiment(problem, {"kind": "soba"}, 0)
    instance = build(spec, device="cpu", data_dir=settings().data_dir).instance
    return Setting(spec, instance, CASES[problem].measure(spec, instance))


def experiment(problem: str, algorithm: Knobs, seed: int) -> Experiment:
    """The spec, as a user would submit it."""
    case = CASES[problem]
    return Experiment.model_validate(
        {
            "problem": case.problem,
            "algorithm": {**FIXED.get(str(algorithm["kind"]), {}), **algorithm},
            "seed": seed,
            "resources": {"precision": case.precision},
        }
    )


def made(problem: str, algorithm: Knobs, seed: int) -> tuple[Instance, Algorithm]:
    """As `core.build` makes it, but that the seed orders the minibatches only and the data are those of seed 0."""
    spec = experiment(problem, algorithm, seed)
    context = make_context(spec, device="cpu", data_dir=settings().data_dir)
    instance = setting(problem).instance
    if isinstance(spec.algorithm, Nested):
        return build(spec, device="cpu", data_dir=settings().data_dir)
    return instance, build_algorithm(spec, instance, build_inner(spec.algorithm), context)


def calls(problem: str, algorithm: Knobs) -> Iterator[float]:
    """Oracle calls of hyperiteration 0, 1, ...: gradients and products, on 64 examples or as many as all have of them.

    Expected ones for TTSA, at most so many for implicit (CG may end early).
    """
    chosen: Any = experiment(problem, algorithm, 0).algorithm
    parts = setting(problem).instance.finite_sum
    assert parts is not None
    inner, outer = (math.ceil(n / BATCH) for n in (parts.inner_examples, parts.outer_examples))
    k = 0
    while True:
        match chosen.kind:
            case "soba" | "ma_soba" | "saba":
                asked: tuple[float, float] = (3, 2)
            case "srba":
                anew = k % (chosen.period or inner + outer) == 0
                asked = (3 * inner, 2 * outer) if anew else (6, 4)
            case "stocbio" | "amigo":
                asked = (chosen.inner_steps + chosen.linear_steps + 1, 2)
            case "ttsa":
                asked = (1 + (chosen.linear_steps - 1) / 2 + 1, 2)
            case "f2sa":
                asked = (2 * chosen.inner_steps + 4, chosen.inner_steps + 2)
            case "bome" | "pbgd":
                asked = (chosen.inner_steps + 4, 2)
            case _ if chosen.hypergradient.kind == "reverse":
                asked = (3 * chosen.steps, 2)
            case _:
                asked = (chosen.steps + chosen.hypergradient.solver.iterations + 1, 2)
        everything = chosen.kind != "srba" and getattr(chosen, "batch", None) is None
        yield asked[0] * inner + asked[1] * outer if everything else sum(asked)
        k += 1


def run(problem: str, algorithm: Knobs, seed: int) -> Curve:
    """The curve of one run; it ends early where a value is not finite."""
    measure = setting(problem).measure
    instance, made_algorithm = made(problem, algorithm, seed)
    total = _cumulated(problem, algorithm)
    last = len(total) - 1
    wanted = {round(last * (i / POINTS) ** 1.5) for i in range(POINTS + 1)}
    state = made_algorithm.init(instance.initial)
    for k in range(2):  # loads code
        made_algorithm.step(k, state)
    seconds, curve = 0.0, []
    for k in range(last + 1):
        if k in wanted:
            values = measure(made_algorithm, state)
            curve.append({"hyperiteration": k, "calls": total[k], "seconds": seconds, **values})
            if not all(map(math.isfinite, values.values())):
                break
        start = time.process_time()
        state, _ = made_algorithm.step(k, state)
        seconds += time.process_time() - start
    return curve


def _cumulated(problem: str, algorithm: Knobs) -> list[float]:
    """Calls before hyperiteration 0, 1, ..., to the end of the run."""
    kind = _label(algorithm)
    steps = CASES[problem].full_batch.get(kind)
    total = [0.0]
    for now in calls(problem, algorithm):
        if len(total) > steps if steps else total[-1] >= CASES[problem].calls:
            return total
        total.append(total[-1] + now)
    raise AssertionError("calls never ends")


def _label(algorithm: Knobs) -> str:
    return str(algorithm["hypergradient"]["kind"] if algorithm["kind"] == "nested" else algorithm["kind"])


def candidates(problem: str, label: str) -> list[Knobs]:
    """What is tried: an anchor as it is, the rates of another algorithm, or those of the grid."""
    case = CASES[problem]
    if label in case.anchors:
        return [case.anchors[label]]
    if label in LIKE:
        return [{**load(problem, LIKE[label])["algorithm"], "kind": label}]
    grid = tuple({"inner_rate": a, "outer_rate": b} for a, b in case.rates)
    return [{"kind": label, **knobs} for knobs in case.own.get(label, grid)]


def make(problem: str, label: str, rounds: int) -> None:
    """Adds what is missing of one file: runs of seed 0 with all rates, and the other seeds with the best of them."""
    case = CASES[problem]
    found: Found = load(problem, label)
    runs = [{"algorithm": dict(algorithm), "curves": {}} for algorithm in candidates(problem, label)]
    for new in runs:
        new["curves"] = next((old["curves"] for old in found["runs"] if old["algorithm"] == new["algorithm"]), {})
    found["runs"] = runs

    def fill(each: dict[str, Any], seed: int) -> None:
        if str(seed) not in each["curves"]:
            each["curves"][str(seed)] = run(problem, each["algorithm"], seed)
            save(problem, label, found)

    for each in runs:
        fill(each, 0)
    best = min(runs, key=lambda each: _worst_if_nan(each["curves"]["0"][-1][case.chosen_by]))
    found["algorithm"] = best["algorithm"]
    for seed in range(1 if label in case.full_batch else rounds):  # all examples: no randomness
        fill(best, seed)
    save(problem, label, found)
    last: Values = best["curves"]["0"][-1]
    print(problem, label, {name: float(f"{value:.4g}") for name, value in last.items()}, flush=True)


def _worst_if_nan(value: float) -> float:
    return math.inf if math.isnan(value) else value


def load(problem: str, label: str) -> Found:
    """What benchmarks/out has of an algorithm: "runs", and the chosen "algorithm" among them."""
    path = OUT / f"{problem}_{label}.json"
    found: Found = json.loads(path.read_text()) if path.exists() else {"runs": []}
    return found


def save(problem: str, label: str, found: Found) -> None:
    """Replaces the file."""
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{problem}_{label}.json").write_text(json.dumps(found))


def one(problem: str, rounds: int) -> None:
    """All algorithms on one problem."""
    torch.set_num_threads(1)
    for label in (*CASES[problem].anchors, *KINDS):
        make(problem, label, rounds)
    if CASES[problem].chosen_by == "value" and not load(problem, LEAST)["runs"]:
        spec, instance, _ = setting(problem)
        save(problem, LEAST, {"runs": [{"value": least(spec, instance)}]})


def main(rounds: int) -> None:
    """All problems, then the page and its figures."""
    from benchmarks.stochastic_figures import publish

    for problem in CASES:
        one(problem, rounds)
    publish()


PIECES: dict[str, Callable[[int], None]] = {
    "stochastic": main,
    **{f"stochastic_{problem}": partial(one, problem) for problem in CASES},
}
