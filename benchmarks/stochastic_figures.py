"""The figures of `python -m benchmarks stochastic`, and the tables of docs/results/stochastic.md below its mark."""

import platform
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.stochastic import FIXED, KINDS, LEAST, OUT
from benchmarks.stochastic import load as load_runs
from benchmarks.stochastic_problems import CASES
from core.environment import environment

RESULTS = OUT.parents[2] / "docs" / "results"
MARK = "<!-- below: written by python -m benchmarks stochastic -->"
PACKAGES = ("torch", "numpy", "matplotlib")

# Okabe and Ito's colours, told apart with every kind of colour vision; each line has a dash pattern of its own as well.
STYLES: dict[str, tuple[str, str, Any]] = {
    "soba": ("SOBA", "#000000", "-"),
    "ma_soba": ("MA-SOBA", "#56B4E9", "-"),
    "saba": ("SABA", "#D55E00", "-"),
    "srba": ("SRBA", "#009E73", (0, (5, 1.5))),
    "stocbio": ("stocBiO", "#E69F00", "-"),
    "amigo": ("AmIGO", "#0072B2", (0, (5, 1.5))),
    "ttsa": ("TTSA", "#CC79A7", (0, (1.5, 1))),
    "f2sa": ("F2SA", "#0072B2", "-"),
    "pbgd": ("PBGD", "#E69F00", (0, (5, 1.5))),
    "bome": ("BOME, all examples", "#CC79A7", (0, (1.5, 1))),
    "reverse": ("reverse, all examples", "#888888", (0, (4, 2))),
    "implicit": ("implicit, all examples", "#888888", (0, (1, 1.5))),
}
FAMILIES = {
    "single loop": ("soba", "ma_soba", "saba", "srba"),
    "two loops, two time scales": ("soba", "stocbio", "amigo", "ttsa"),
    "gradients only": ("soba", "f2sa", "pbgd", "bome"),
}
ANCHORS = ("reverse", "implicit")
TITLES = {
    "quadratics": "random quadratics",
    "a9a": "logistic regression, a9a",
    "magic": "logistic regression, MAGIC",
    "cleaning": "data hyper-cleaning, MNIST",
}
LABELS = {
    "squared_gradient": "||grad h||²",
    "suboptimality": "h - min h",
    "above_best": "h - h*",
    "validation_error": "validation error",
    "validation_loss": "validation loss",
    "test_error": "test error",
}
DRAWN = {"quadratics": "squared_gradient", "a9a": "above_best", "magic": "above_best", "cleaning": "validation_error"}
SHOWN = {
    "quadratics": ("squared_gradient", "suboptimality"),
    "a9a": ("above_best", "squared_gradient"),
    "magic": ("above_best", "squared_gradient"),
    "cleaning": ("validation_error", "validation_loss", "test_error"),
}
PICTURES = {"quadratics": ("quadratics",), "logistic": ("a9a", "magic"), "cleaning": ("cleaning",)}


class Summary(NamedTuple):
    """All seeds of one algorithm; entries [points]."""

    algorithm: dict[str, Any]
    seeds: int
    axes: dict[str, NDArray[np.float64]]
    """Medians of "hyperiteration", "calls", "seconds"."""
    low: dict[str, NDArray[np.float64]]
    middle: dict[str, NDArray[np.float64]]
    high: dict[str, NDArray[np.float64]]


def load(problem: str) -> dict[str, Summary]:
    """What there is, by algorithm; "above_best" is h less the least h that L-BFGS or any run found, less 1e-10."""
    raw = {label: _chosen(found) for label in STYLES if (found := load_runs(problem, label))["runs"]}
    if "value" in next(iter(next(iter(raw.values()))["curves"].values()))[0]:
        points = [point for found in raw.values() for curve in found["curves"].values() for point in curve]
        known = [run["value"] for run in load_runs(problem, LEAST)["runs"]]
        best = np.nanmin([*known, *(point["value"] for point in points)]) - 1e-10
        for point in points:
            point["above_best"] = point["value"] - best
    return {label: _summary(found) for label, found in raw.items()}


def _chosen(found: dict[str, Any]) -> dict[str, Any]:
    chosen: dict[str, Any] = next(each for each in found["runs"] if each["algorithm"] == found["algorithm"])
    return chosen


def _summary(found: dict[str, Any]) -> Summary:
    curves = list(found["curves"].values())
    points = min(map(len, curves))
    stacked = {name: np.array([[point[name] for point in curve[:points]] for curve in curves]) for name in curves[0][0]}
    axes = {name: np.median(stacked.pop(name), 0) for name in ("hyperiteration", "calls", "seconds")}
    low, middle, high = (
        {name: np.quantile(values, q, axis=0) for name, values in stacked.items()} for q in (0.2, 0.5, 0.8)
    )
    return Summary(found["algorithm"], len(curves), axes, low, middle, high)


def draw(picture: str) -> None:
    """One row for each problem and axis (calls, seconds), one column for each family."""
    rows = [(problem, axis) for problem in PICTURES[picture] for axis in ("calls", "seconds")]
    figure = Figure(figsize=(15, 3.6 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(FAMILIES), sharey="row", squeeze=False)
    for (problem, axis), line in zip(rows, grid, strict=True):
        found = load(problem)
        for (family, members), axes in zip(FAMILIES.items(), line, strict=True):
            for label in (*ANCHORS, *members):
                if label in found:
                    _curve(axes, label, found[label], axis, DRAWN[problem])
            _dress(axes, problem, axis, found)
            axes.set_title(f"{TITLES[problem]}: {family}", fontsize=10)
            if axis == "calls":
                axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1), handlelength=2.6)
        line[0].set_ylabel(LABELS[DRAWN[problem]])
    figure.savefig(RESULTS / f"stochastic_{picture}.png", dpi=110)


def _curve(axes: Axes, label: str, found: Summary, axis: str, value: str) -> None:
    name, colour, dashes = STYLES[label]
    x = found.axes[axis]
    thin = label in ANCHORS
    axes.plot(x, found.middle[value], color=colour, linestyle=dashes, label=name, linewidth=1.4 if thin else 1.9)
    if found.seeds > 1:
        axes.fill_between(x, found.low[value], found.high[value], color=colour, alpha=0.18, linewidth=0)


def _dress(axes: Axes, problem: str, axis: str, found: dict[str, Summary]) -> None:
    if DRAWN[problem] == "validation_error":
        axes.set_ylim(0.13, 0.32)
    else:
        axes.set_yscale("log")
    axes.grid(color="#e6e6e6", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    stochastic = [found[label].axes[axis][-1] for label in KINDS if label in found and label != "bome"]
    if axis == "calls":
        axes.set_xscale("symlog", linthresh=CASES[problem].calls, linscale=2.2)
        axes.set_xticks([0, *(10**power for power in range(4, 8) if 10**power <= axes.get_xlim()[1])])
        axes.set_xlabel("oracle calls (linear, then logarithmic)")
        axes.axvline(CASES[problem].calls, color="#cccccc", linewidth=0.8)
        axes.set_xlim(0)
        return
    axes.set_xlim(0, 1.05 * max(stochastic))
    axes.set_xlabel("seconds of one processor")


def page() -> None:
    """Tables below the page's mark; what people have written above it stays."""
    path = RESULTS / "stochastic.md"
    above = path.read_text().partition(MARK)[0]
    path.write_text("\n".join([above + MARK, "", f"{made_with()} {WORDS}", *(_table(problem) for problem in TITLES)]))


WORDS = (
    "Medians over seeds at the end of the runs, 20-80 % in brackets; rates chosen among those of "
    "`benchmarks/stochastic_problems.py` by the end of the whole run of the first seed."
)


def made_with() -> str:
    """Machine, versions, revision and date."""
    facts = environment("cpu")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return (
        f"{facts['device_name']}, {torch.get_num_threads()} thread; Python {platform.python_version()}, {versions}; "
        f"revision {str(facts['git_revision'])[:12]}; {datetime.now(UTC).date().isoformat()}."
    )


def _table(problem: str) -> str:
    names = SHOWN[problem]
    lines = [
        f"\n### {TITLES[problem]}\n",
        "| algorithm | settings | seeds | hyperiterations | calls | seconds | "
        + " | ".join(LABELS[name].replace("|", "\\|") for name in names)
        + " |",
        "|" + "---|" * (6 + len(names)),
    ]
    for label, found in load(problem).items():
        ends = {name: float(values[-1]) for name, values in found.axes.items()}
        cells = [
            STYLES[label][0],
            _settings(label, found.algorithm),
            str(found.seeds),
            f"{ends['hyperiteration']:.0f}",
            f"{ends['calls']:.3g}",
            f"{ends['seconds']:.1f}",
            *(_cell(found, name) for name in names),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _settings(label: str, algorithm: dict[str, Any]) -> str:
    if algorithm["kind"] == "nested":
        return f"T = {algorithm['steps']}, {algorithm['dynamics']['rate']:g}; SGD {algorithm['optimizer']['rate']:g}"
    shown = {**FIXED.get(label, {}), **algorithm}
    others = [f"{name} {shown[name]:g}" for name in ("multiplier", "eta") if name in shown]
    return ", ".join([f"{shown['inner_rate']:g}, {shown['outer_rate']:g}", *others])


def _cell(found: Summary, name: str) -> str:
    middle, low, high = (float(part[name][-1]) for part in (found.middle, found.low, found.high))
    return f"{middle:.3g}" + (f" ({low:.2g}-{high:.2g})" if found.seeds > 1 else "")


def publish() -> None:
    """The pictures and the page."""
    for picture in PICTURES:
        draw(picture)
    page()
