"""The curves of docs/methods.md: every method, dynamics and solver on small problems that need no data from elsewhere.

All of them are built from specs, as experiments are; one thread, float64 where errors are shown.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from benchmarks.agreement import arrays, relative_error, require_agreement
from benchmarks.memory import peak_mb
from core.bilevel.hypergradients.inner import run
from core.bilevel.problem import Dynamics, Hypergradient, Problem, State, Tree
from core.build import build_instance, make_context
from core.inner import build_inner
from core.methods import build_method
from core.settings import settings
from core.spec import Experiment

Settings = Mapping[str, Any]
ROUND_OFF = 1e-16
"""What errors are drawn at that are smaller."""


class Line(NamedTuple):
    """One curve, and where it is known how far draws lie apart, its least and largest values."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


class Panel(NamedTuple):
    """Curves that are drawn together."""

    title: str
    across: str
    up: str
    lines: Sequence[Line]
    columns: Sequence[float]
    """The x of the table."""
    logarithmic: Sequence[Literal["x", "y"]] = ("x", "y")
    limits: tuple[float | None, float | None] | None = None
    """Of the upright axis."""


def spec_of(problem: Settings, algorithm: Settings, precision: str = "float64", seed: int = 0) -> Experiment:
    """An experiment."""
    resources = {"precision": precision}
    return Experiment.model_validate({"problem": problem, "algorithm": algorithm, "seed": seed, "resources": resources})


class Stated(NamedTuple):
    """The bilevel problem of hyperiteration 0, and the method of hyperiteration k, as a spec builds them."""

    problem: Problem
    dynamics: Dynamics
    lam: Tree
    steps: int
    method_at: Callable[[int], Any]

    def hypergradient(self, k: int = 0) -> Hypergradient:
        """By the method of the spec."""
        found: Hypergradient = self.method_at(k)(self.problem, self.dynamics, self.lam, steps=self.steps)
        return found


def stated(problem: Settings, algorithm: Settings, precision: str = "float64") -> Stated:
    """Of `nested`."""
    spec = spec_of(problem, algorithm, precision)
    context = make_context(spec, device="cpu", data_dir=settings().data_dir)
    inner = build_inner(spec.algorithm)
    instance = build_instance(spec.problem, inner, context)
    methods = build_method(spec, inner, context)
    return Stated(*instance.at(0), instance.initial, algorithm["steps"], lambda k: methods.at(k, ()))


# How exact a hypergradient is.

HEAVY_BALL: dict[str, Any] = {"kind": "heavy_ball", "momentum": 0.9}
QUADRATIC: Settings = {"kind": "quadratic", "inner_dimension": 50, "outer_dimension": 10, "condition": 30}
RIDGE: Settings = {"kind": "regularization", "dataset": {"kind": "diabetes"}, "strength": "feature"}
EXACT_CG = {"kind": "cg", "preconditioner": "none", "tolerance": 1e-14, "iterations": 1000}
BY_STEPS: dict[str, Settings] = {
    "reverse, unrolled, forward": {"kind": "reverse"},
    "reversible": {"kind": "reversible"},
    "reverse, truncate = 10": {"kind": "reverse", "truncate": 10},
    "reverse, truncate = 50": {"kind": "reverse", "truncate": 50},
    "implicit, cg": {"kind": "implicit", "solver": EXACT_CG},
    "first_order": {"kind": "first_order"},
    "random_forward, 1 direction": {"kind": "random_forward", "directions": 1},
    "random_forward, 10 directions": {"kind": "random_forward", "directions": 10},
}
STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 500, 700, 1000)
DRAWS = 5
"""Estimates by random directions, each of which takes a run of its own."""


def accuracy(rounds: int) -> list[Panel]:
    """Error of the hypergradient of f_T, or of what stands for it, against that of f in closed form."""
    problems = {
        "Quadratic": (QUADRATIC, 0.5),
        "Ridge, a strength a feature": (RIDGE, 0.3),
    }
    return [_accuracy(title, problem, HEAVY_BALL | {"rate": rate}) for title, (problem, rate) in problems.items()]


def _accuracy(title: str, problem: Settings, dynamics: Settings) -> Panel:
    def at(steps: int, hypergradient: Settings) -> Stated:
        return stated(problem, {"steps": steps, "dynamics": dynamics, "hypergradient": hypergradient})

    exact = arrays(at(1, {"kind": "exact"}).hypergradient().grad)
    same = {kind: arrays(at(100, {"kind": kind}).hypergradient().grad) for kind in ("reverse", "unrolled", "forward")}
    require_agreement(same, 1e-12)

    lines = []
    for name, method in BY_STEPS.items():
        if method["kind"] == "first_order" and problem["kind"] != "quadratic":
            continue  # zero there: E sees lam through the steps only
        random = method["kind"] == "random_forward"
        steps = [T for T in STEPS if method.get("truncate", 1) <= T <= (300 if random else 1000)]
        found = [
            [
                max(relative_error(arrays(at(T, method).hypergradient(k).grad), exact), ROUND_OFF)
                for k in range(DRAWS if random else 1)
            ]
            for T in steps
        ]
        bands = ([min(each) for each in found], [max(each) for each in found]) if random else ()
        lines.append(Line(name, steps, [statistics.median(each) for each in found], *bands))
    return Panel(title, "inner steps T", "relative error of the hypergradient", lines, (1, 10, 50, 100, 300, 1000))


# What a hypergradient costs.

CLASSES = {
    "kind": "regularization",
    "dataset": {"kind": "digits"},
    "strength": "class",
    "model": {"kind": "linear", "bias": False},
    "train": 300,
    "validation": 300,
}
COSTS: dict[str, Settings] = {
    "unrolled": {"kind": "unrolled"},
    "reverse": {"kind": "reverse"},
    "reverse, segment = auto": {"kind": "reverse", "segment": "auto"},
    "reverse, snapshots = 10": {"kind": "reverse", "snapshots": 10},
    "reversible": {"kind": "reversible"},
    "forward, 10 tangents": {"kind": "forward"},
    "implicit, cg": {"kind": "implicit", "solver": {"kind": "cg", "preconditioner": "none"}},
}
COST_STEPS = (10, 30, 100, 300, 1000)


def cost(rounds: int) -> list[Panel]:
    """Time and memory of one hypergradient, in float32; time is the processor's, the median of three at most."""
    seconds, memory = [], []
    for name, method in COSTS.items():
        times, peaks = [], []
        for steps in COST_STEPS:
            dynamics = HEAVY_BALL | {"rate": 0.1}
            call = stated(
                CLASSES, {"steps": steps, "dynamics": dynamics, "hypergradient": method}, "float32"
            ).hypergradient
            call()
            peaks.append(peak_mb(call) or math.nan)
            times.append(statistics.median(processor_seconds(call) for _ in range(min(rounds, 3))))
        seconds.append(Line(name, COST_STEPS, times))
        memory.append(Line(name, COST_STEPS, peaks))
    return [
        Panel("Time of a hypergradient", "inner steps T", "seconds of one processor", seconds, COST_STEPS),
        Panel("Memory of a hypergradient", "inner steps T", "peak, MiB", memory, COST_STEPS),
    ]


def processor_seconds(call: Callable[[], object]) -> float:
    """What other processes do is not counted."""
    start = time.process_time()
    call()
    return time.process_time() - start


# How inner dynamics descend.

DIGITS_RIDGE: dict[str, Any] = {"kind": "regularization", "dataset": {"kind": "digits"}, "loss": "squared"}
INNER_RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
INNER_STEPS = 300
KINDS = ("gradient_descent", "heavy_ball", "nesterov", "adam", "adamw", "rmsprop", "line_search")


def inner_dynamics(rounds: int) -> list[Panel]:
    """L(w_t) - min L, with the rate of the grid that is the best after all steps."""
    lines = []
    for kind in KINDS:
        curves = {rate: _descent({"kind": kind, "rate": rate}) for rate in INNER_RATES}
        rate = min(curves, key=lambda rate: last(curves[rate]))
        lines.append(Line(f"{kind}, {rate:g}", range(1, INNER_STEPS + 1), curves[rate]))
    return [
        Panel(
            "Ridge regression on digits",
            "inner steps t",
            "$L(w_t) - \\min L$",
            lines,
            (1, 10, 30, 100, 200, 300),
            ("y",),
            (ROUND_OFF, None),
        )
    ]


def _descent(dynamics: Settings) -> list[float]:
    found = stated(DIGITS_RIDGE, {"steps": 1, "dynamics": dynamics, "hypergradient": {"kind": "exact"}})
    solution = found.problem.solution
    assert solution is not None
    lowest, state, gaps = found.problem.inner(solution(found.lam), found.lam), found.dynamics.init(found.lam), []
    for t in range(1, INNER_STEPS + 1):
        state = found.dynamics.step(t, state, found.lam)
        gaps.append(max(float(found.problem.inner(state.w, found.lam) - lowest), ROUND_OFF))
    return gaps


def last(values: Sequence[float]) -> float:
    """What a curve is chosen by."""
    return values[-1] if math.isfinite(values[-1]) else math.inf


# What solvers of the linear system take.

SOFTMAX: dict[str, Any] = {
    "kind": "regularization",
    "dataset": {"kind": "digits"},
    "strength": "feature",
    "model": {"kind": "linear", "bias": False},
}
SPREAD: Settings = SOFTMAX | {"initial_strength": 0.001, "initial_spread": 8}
PRODUCTS = (1, 2, 3, 5, 7, 10, 14, 20, 30, 50, 70, 100, 140, 200, 300, 500, 1000, 2000)
SOLVERS: dict[str, Settings] = {
    "cg": {"kind": "cg", "preconditioner": "none", "tolerance": 0},
    "cg, preconditioned": {"kind": "cg", "tolerance": 0},
    "cg_normal": {"kind": "cg_normal", "tolerance": 0},
    "fixed_point": {"kind": "fixed_point", "tolerance": 0},
    "neumann": {"kind": "neumann"},
    "stochastic, 100 examples": {"kind": "stochastic", "rate": 0.2},
}
GRADIENT_DESCENT = {"kind": "gradient_descent", "rate": 0.2}


def solvers(rounds: int) -> list[Panel]:
    """Error of the hypergradient against `dense` at the same w, by the products that the solver may make."""
    problems = {"All strengths 0.01": SOFTMAX, "Strengths from 0.001 to 3": SPREAD}
    return [_solvers(title, problem) for title, problem in problems.items()]


def _solvers(title: str, problem: Settings) -> Panel:
    fit = stated(problem, {"steps": 1, "dynamics": {"kind": "nesterov", "rate": 0.1}})
    w = run(fit.dynamics, fit.lam, 3000)[1].w

    def found(solver: Settings, k: int = 0) -> Hypergradient:
        batch = {"batch": 100} if solver["kind"] == "stochastic" else {}
        hypergradient = {"kind": "implicit", "solver": solver}
        there = stated(problem, {"steps": 1, "dynamics": {**GRADIENT_DESCENT, **batch}, "hypergradient": hypergradient})
        stays = Dynamics(lambda lam: State(w), there.dynamics.step)
        return there._replace(dynamics=stays, steps=0).hypergradient(k)

    exact = arrays(found({"kind": "dense"}).grad)
    lines = []
    for name, solver in SOLVERS.items():
        draws = 3 if solver["kind"] == "stochastic" else 1
        errors = []
        for products in PRODUCTS[2:] if solver["kind"] == "cg_normal" else PRODUCTS:
            each = [
                relative_error(arrays(found({**solver, "iterations": products}, k).grad), exact) for k in range(draws)
            ]
            errors.append((products, max(statistics.median(each), ROUND_OFF)))
        lines.append(Line(name, *zip(*errors, strict=True)))
    return Panel(
        title, "products with the Hessian", "relative error of the hypergradient", lines, (10, 30, 100, 300, 2000)
    )


def main(rounds: int) -> None:
    """All of them, their figures and the page."""
    from benchmarks.method_figures import publish

    publish(rounds)
