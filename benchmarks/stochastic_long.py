"""What the budgets of `stochastic` are too short to show: floors, biases, and how smooth directions are.

`python -m benchmarks stochastic_long --rounds SEEDS` writes docs/results/stochastic-long.md and its figure, in some ten
minutes of one thread.
"""

import statistics
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.stochastic import CONSTANT, made, setting
from benchmarks.stochastic_figures import RESULTS, STYLES, made_with
from benchmarks.stochastic_problems import Knobs
from core.bilevel import trees
from core.problems.random_quadratics import Mean, draw
from core.spec.problems import RandomQuadratics

POINTS = 60
"""Evaluations of a run, and intervals that roughness is a mean over."""
MULTIPLIERS = (1.0, 10.0, 100.0)


class Curve(NamedTuple):
    """One run."""

    hyperiteration: list[int]
    squared_gradient: list[float]
    """||grad h(lam)||^2."""
    stationarity: list[float]
    """||grad_w L(w, lam)||^2 of all examples, at the algorithm's own w."""
    roughness: list[float]
    """Mean |norm of direction k+1 - norm of direction k| over the hyperiterations since the point before, from 1 on."""


LABELS = {
    "squared_gradient": "||grad h||²",
    "stationarity": "||grad_w L(w, lam)||²",
    "roughness": "mean change of the direction's norm",
}


class Panel(NamedTuple):
    """Runs that are drawn together."""

    title: str
    problem: str
    values: tuple[str, ...]
    """Of `Curve`; the first is drawn, all are in the tables."""
    steps: int
    runs: Mapping[str, Knobs]
    """Name -> algorithm."""


LOGISTIC: Knobs = {"inner_rate": 0.25, "outer_rate": 2.5}
SMALL: Knobs = {"inner_rate": 0.1, "outer_rate": 0.1}
ALL: Knobs = {**CONSTANT, **SMALL, "batch": None}


def _loops(knobs: Knobs) -> dict[str, Knobs]:
    return {
        kind: {"kind": kind, **knobs, **(CONSTANT if kind in ("soba", "ma_soba") else {})}
        for kind in ("soba", "ma_soba", "saba", "srba")
    }


PANELS = (
    Panel(
        "Logistic regression, MAGIC: inner stationarity",
        "magic",
        ("stationarity", "squared_gradient"),
        12_000,
        _loops(LOGISTIC),
    ),
    Panel(
        "Random quadratics: roughness of the direction",
        "quadratics",
        ("roughness",),
        6_000,
        _loops(SMALL),
    ),
    Panel(
        "Random quadratics: F2SA, all examples",
        "quadratics",
        ("squared_gradient",),
        4_200,
        {
            **{
                f"multiplier {mu:g}": {"kind": "f2sa", **ALL, "multiplier": mu, "multiplier_exponent": 0.0}
                for mu in MULTIPLIERS
            },
            "multiplier growing from 1": {"kind": "f2sa", **ALL, "multiplier": 1.0, "multiplier_exponent": 0.5},
        },
    ),
    Panel(
        "Random quadratics: BOME, all examples",
        "quadratics",
        ("squared_gradient",),
        9_000,
        {f"outer rate {rate:g}": {"kind": "bome", "inner_rate": 0.1, "outer_rate": rate} for rate in (0.1, 0.03, 0.01)},
    ),
)
"""The last two have no randomness."""


def run(problem: str, algorithm: Knobs, steps: int, seed: int) -> Curve:
    """Walks and measures."""
    assert steps % POINTS == 0
    _, instance, measure = setting(problem)
    _, walked = made(problem, algorithm, seed)
    stated, _ = instance.at(0)
    state = walked.init(instance.initial)
    curve = Curve([], [], [], [])
    norms: list[float] = []
    for k in range(steps + 1):
        if k % (steps // POINTS) == 0:
            assert walked.inner is not None
            slope = torch.func.grad(stated.inner)(walked.inner(state), state.lam)
            curve.hyperiteration.append(k)
            curve.squared_gradient.append(measure(walked, state)["squared_gradient"])
            curve.stationarity.append(float(trees.dot(slope, slope)))
            if len(norms) > 1:
                curve.roughness.append(float(torch.tensor(norms).diff().abs().mean()))
            norms = []
        state, series = walked.step(k, state)
        norms.append(float(series["hypergradient_norm"]))
    return curve


@cache
def bias(multiplier: float) -> float:
    """||grad h||^2 at the minimizer over lam of min_y E(y, lam) + multiplier (L(y, lam) - min L(., lam))."""
    spec, _, _ = setting("quadratics")
    assert isinstance(spec.problem, RandomQuadratics)
    parts, h = draw(spec.problem, spec.seed)
    inner, outer = (part.mean() for part in parts)
    both = Mean(*(e + multiplier * g for e, g in zip(outer, inner, strict=True)))
    (curved, sloped), (of_gap, at_gap) = _reduced(both), _reduced(inner)
    lam = -torch.linalg.solve(curved - multiplier * of_gap, sloped - multiplier * at_gap)
    return float(h.gradient(lam).square().sum())


def _reduced(mean: Mean) -> tuple[Tensor, Tensor]:
    """A and c of min over w = 1/2 lam'A lam + c'lam + constant."""
    across = torch.linalg.solve(mean.H, mean.C.T).T
    return mean.G - across @ mean.C.T, mean.b - across @ mean.a


def main(rounds: int) -> None:
    """All panels, the figure and the page."""
    torch.set_num_threads(1)
    found = [(panel, dict(_panel(panel, rounds))) for panel in PANELS]
    figure = Figure(figsize=(13, 8.4), layout="constrained")
    for axes, (panel, curves) in zip(figure.subplots(2, 2).flat, found, strict=True):
        _draw(axes, panel, curves)
    figure.savefig(RESULTS / "stochastic-long.png", dpi=110)
    page = RESULTS / "stochastic-long.md"
    above = page.read_text().partition(MARK)[0] if page.exists() else ""
    tables = "\n\n".join(_tables(panel, curves) for panel, curves in found)
    page.write_text(f"{above}{MARK}\n\n{made_with()} Medians over {rounds} seeds.\n\n{tables}\n")


MARK = "<!-- below: written by python -m benchmarks stochastic_long -->"


def _panel(panel: Panel, rounds: int) -> Iterator[tuple[str, list[Curve]]]:
    seeds = 1 if panel.values[0] == "squared_gradient" else rounds
    for name, algorithm in panel.runs.items():
        curves = [run(panel.problem, algorithm, panel.steps, seed) for seed in range(seeds)]
        print(panel.title, name, f"{getattr(curves[0], panel.values[0])[-1]:.3g}", flush=True)
        yield name, curves


def _draw(axes: Axes, panel: Panel, curves: Mapping[str, list[Curve]]) -> None:
    for name, runs in curves.items():
        x, middle = _middle(runs, panel.values[0])
        label, colour, dashes = STYLES.get(name, (name, None, "-"))
        (line,) = axes.plot(x, middle, label=label, color=colour, linestyle=dashes, linewidth=1.8)
        if (limit := _limit(name)) is not None:
            axes.axhline(limit, color=line.get_color(), linewidth=0.9, linestyle=":")
    axes.set_yscale("log")
    axes.set_title(panel.title, fontsize=11)
    axes.set_xlabel("hyperiteration")
    axes.set_ylabel(LABELS[panel.values[0]])
    axes.grid(color="#e6e6e6", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=9, frameon=False)


def _middle(runs: list[Curve], value: str) -> tuple[list[int], list[float]]:
    """Hyperiterations, and medians over seeds."""
    values = [getattr(each, value) for each in runs]
    middle = [statistics.median(at) for at in zip(*values, strict=True)]
    return runs[0].hyperiteration[-len(middle) :], middle


def _limit(name: str) -> float | None:
    """What ||grad h||^2 of F2SA with a multiplier that stands still tends to."""
    return next((bias(mu) for mu in MULTIPLIERS if name == f"multiplier {mu:g}"), None)


def _tables(panel: Panel, curves: Mapping[str, list[Curve]]) -> str:
    return "\n".join([f"### {panel.title}", *(_table(panel, value, curves) for value in panel.values)])


def _table(panel: Panel, value: str, curves: Mapping[str, list[Curve]]) -> str:
    """Values at a quarter, half and the end, the least with its hyperiteration, and the closed form."""
    at = " | ".join(f"k = {panel.steps * i // 4}" for i in (1, 2, 4))
    label = LABELS[value].replace("|", "\\|")
    lines = [f"\n| {label} | {at} | least | closed form |", "|---|---|---|---|---|---|"]
    for name, runs in curves.items():
        k, middle = _middle(runs, value)
        shown = [f"{middle[k.index(panel.steps * i // 4)]:.3g}" for i in (1, 2, 4)]
        least = min(middle)
        limit = "" if (found := _limit(name)) is None else f"{found:.3g}"
        title = STYLES.get(name, (name,))[0]
        lines.append(f"| {title} | {' | '.join(shown)} | {least:.3g} (k = {k[middle.index(least)]}) | {limit} |")
    return "\n".join(lines)
