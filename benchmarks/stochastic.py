"""Ten stochastic and first-order algorithms on the problems of benchopt's benchmark_bilevel, full-batch anchors beside.

`python -m benchmarks stochastic --rounds SEEDS` makes what is missing in benchmarks/out/stochastic/, one file an
algorithm and problem, and then docs/results/stochastic.md with its figures; `stochastic_quadratics` and so on make one
problem alone. It may be stopped at any time. One thread; seconds are the processor's, evaluations are not counted.
"""

import json
import math
import statistics
import time
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.stochastic_problems import CASES, Knobs, Measure, Values
from core.bilevel.problem import Algorithm
from core.build import build, build_algorithm, build_inner, make_context
from core.problems.instance import Instance
from core.settings import settings
from core.spec import Experiment
from core.spec.algorithms import Nested

OUT = Path(__file__).parent / "out" / "stochastic"
KINDS = ("soba", "ma_soba", "srba", "stocbio", "amigo", "ttsa", "f2sa", "pbgd", "bome", "saba")
CONSTANT: Knobs = {"inner_exponent": 0.0, "outer_exponent": 0.0}
FIXED: dict[str, Knobs] = {"soba": CONSTANT, "ma_soba": CONSTANT, "pbgd": {"batch": 64}}
"""What is the same on every problem: constant rates where variance reduction is compared with none."""
LIKE = {"ma_soba": "soba"}
"""Which takes the rates that were chosen for another: the comparison is one at equal rates."""
BATCH = 64
SHORT = 6
"""The rates are chosen by runs of this part of the length."""
POINTS = 20
"""Evaluations of a run, denser at its beginning."""

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


def run(problem: str, algorithm: Knobs, seed: int, *, share: float = 1.0, points: int = POINTS) -> Curve:
    """The curve of one run; it ends early where a value is not finite."""
    measure = setting(problem).measure
    instance, made_algorithm = made(problem, algorithm, seed)
    total = _cumulated(problem, algorithm, share)
    last = len(total) - 1
    wanted = {round(last * (i / points) ** 1.5) for i in range(points + 1)} if points > 1 else {last}
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


def _cumulated(problem: str, algorithm: Knobs, share: float) -> list[float]:
    """Calls before hyperiteration 0, 1, ..., to the end of the run."""
    kind = _label(algorithm)
    steps = CASES[problem].full_batch.get(kind)
    total = [0.0]
    for now in calls(problem, algorithm):
        done = len(total) > steps * share if steps else total[-1] >= CASES[problem].calls * share
        if done and len(total) > 2:
            return total
        total.append(total[-1] + now)
    raise AssertionError("calls never ends")


def _label(algorithm: Knobs) -> str:
    return str(algorithm["hypergradient"]["kind"] if algorithm["kind"] == "nested" else algorithm["kind"])


def chosen(problem: str, kind: str, seeds: range) -> tuple[Knobs, list[dict[str, Any]]]:
    """The rates whose short runs end with the lowest median, and all that were tried."""
    case, tried = CASES[problem], []
    for knobs in case.own.get(kind, tuple({"inner_rate": a, "outer_rate": b} for a, b in case.rates)):
        algorithm = {"kind": kind, **knobs}
        ends = [run(problem, algorithm, seed, share=1 / SHORT, points=1)[-1] for seed in seeds]
        score = statistics.median(_worst_if_nan(end[case.chosen_by]) for end in ends)
        tried.append({"knobs": dict(knobs), "score": score})
    best = min(tried, key=lambda each: each["score"])
    return {"kind": kind, **best["knobs"]}, tried


def _worst_if_nan(value: float) -> float:
    return math.inf if math.isnan(value) else value


def make(problem: str, label: str, rounds: int) -> None:
    """Adds what is missing of one algorithm's file: the choice of rates, and a curve for each seed."""
    case, path = CASES[problem], OUT / f"{problem}_{label}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    alone = label in case.full_batch  # deterministic
    seeds = range(1 if alone else rounds)
    if "algorithm" not in found:
        algorithm, tried = _settled(problem, label) or chosen(problem, label, seeds)
        found = {"algorithm": algorithm, "tried": tried, "curves": {}}
        _save(path, found)
    for seed in seeds:
        if str(seed) not in found["curves"]:
            found["curves"][str(seed)] = run(problem, found["algorithm"], seed)
            _save(path, found)
    last: Values = found["curves"]["0"][-1]
    print(problem, label, {name: float(f"{value:.4g}") for name, value in last.items()}, flush=True)


def _settled(problem: str, label: str) -> tuple[Knobs, list[dict[str, Any]]] | None:
    """What needs no choice: an anchor, or the rates of another algorithm."""
    if label in CASES[problem].anchors:
        return CASES[problem].anchors[label], []
    if label in LIKE:
        other = json.loads((OUT / f"{problem}_{LIKE[label]}.json").read_text())
        return {**other["algorithm"], "kind": label}, []
    return None


def _save(path: Path, found: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))


def one(problem: str, rounds: int) -> None:
    """All algorithms on one problem; SABA last."""
    torch.set_num_threads(1)
    for label in (*CASES[problem].anchors, *KINDS):
        make(problem, label, rounds)


def main(rounds: int) -> None:
    """All problems, then the page and its figures."""
    from benchmarks.stochastic_figures import publish

    for problem in CASES:
        one(problem, rounds)
    publish()


PIECES = {"stochastic": main, **{f"stochastic_{problem}": partial(one, problem) for problem in CASES}}
