"""A hyper-cleaning hyperiteration of each reverse method against the plain walk of the same inner steps."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.measure import Comparison, compare
from core.bilevel.hypergradients import reverse, unrolled
from core.bilevel.hypergradients.inner import run
from core.build import build_instance, make_context
from core.inner import build_inner
from core.spec import Experiment
from core.spec.algorithms import GradientDescent, Nested
from core.spec.problems import HyperCleaning

STEPS = 100


def main(rounds: int) -> Iterator[Comparison]:
    """On scikit-learn's digits, one weight for each of 800 examples."""
    algorithm = Nested(steps=STEPS, dynamics=GradientDescent(rate=1.0))
    spec = Experiment(problem=HyperCleaning(), algorithm=algorithm)
    instance = build_instance(spec.problem, build_inner(algorithm), make_context(spec, device="cpu", data_dir=Path()))
    problem, dynamics = instance.at(0)
    lam = instance.initial
    candidates: dict[str, Callable[[], object]] = {
        "plain walk": lambda: run(dynamics, lam, STEPS),
        "reverse": partial(reverse, problem, dynamics, lam, steps=STEPS),
        "reverse, segments of 10": partial(reverse, problem, dynamics, lam, steps=STEPS, segment=10),
        "reverse, truncated to 10": partial(reverse, problem, dynamics, lam, steps=STEPS, truncate=10),
        "unrolled": partial(unrolled, problem, dynamics, lam, steps=STEPS),
    }
    yield compare("hyper-cleaning", f"digits, n = 800, T = {STEPS}", candidates, rounds)
