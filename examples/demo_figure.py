"""The picture that the demo draws: learning curves, and the learned weights of right and wrong labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from bilevel_client import Series

BLUE, ORANGE, GREEN, GREY, INK = "#2f6db5", "#e07b39", "#2e9e6b", "#8a8f98", "#22262b"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": GREY,
    "axes.edgecolor": "#c9ccd1",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlepad": 12,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#eceef1",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 2.2,
    "lines.solid_capstyle": "round",
}

Curves = Mapping[str, Series]


class Cleaning(NamedTuple):
    """What came of the hyper-cleaning experiment."""

    spec: Mapping[str, Any]
    curves: Curves
    report: Mapping[str, Any]
    weights: NDArray[np.float64]
    corrupted: NDArray[np.bool_]


def draw(path: Path, cleaning: Cleaning, few_shot: Curves | None) -> None:
    """Writes the picture as a PNG; without a few-shot experiment the mean weights take its place."""
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(12, 8), dpi=150)
        figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.15, wspace=0.05, hspace=0.06)
        figure.suptitle("Digits with half of the training labels wrong", x=0.015, ha="left", size=15, weight="bold")
        _accuracy(axes[0, 0], cleaning)
        _histogram(axes[0, 1], cleaning)
        _objective(axes[1, 0], cleaning.curves)
        if few_shot is not None:
            _few_shot(axes[1, 1], few_shot)
        else:
            _mean_weights(axes[1, 1], cleaning.curves)
        figure.savefig(path, facecolor="white")
        plt.close(figure)


def _curve(curves: Curves, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.asarray(curves[name].step, float), np.asarray(curves[name].value, float)


def _room(steps: NDArray[np.float64]) -> tuple[float, float]:
    return -0.02 * steps[-1], 1.02 * steps[-1]


def _label(axis: Axes, x: float, y: float, text: str, colour: str, **options: Any) -> None:
    axis.text(x, y, text, color=colour, size=9, weight="bold", **options)


def _accuracy(axis: Axes, cleaning: Cleaning) -> None:
    steps, values = _curve(cleaning.curves, "test/accuracy")
    levels = {name: cleaning.report[name]["accuracy"]["mean"] for name in ("baseline", "oracle")}
    for name, text, colour, above in (
        ("oracle", "clean oracle: right labels only", GREEN, False),
        ("baseline", "noisy baseline: all labels, equal weights", ORANGE, True),
    ):
        axis.axhline(levels[name], color=colour, linestyle=(0, (4, 3)), linewidth=1.4)
        _label(axis, steps[-1], levels[name] + (0.006 if above else -0.008), f"{text}, {levels[name]:.1%}", colour,
               ha="right", va="bottom" if above else "top")  # fmt: skip
    axis.plot(steps, values, color=BLUE, marker="o", markersize=4.5)
    _label(axis, steps[-1], values[-1] + 0.008, "learned weights", BLUE, ha="right", va="bottom")
    short, long = cleaning.spec["algorithm"]["steps"], cleaning.spec["problem"]["final_steps"]
    trained = f"curve: trained for {short} steps; dashed: for {long}"
    axis.text(0.99, 0.03, trained, transform=axis.transAxes, ha="right", size=8.5, color=GREY)
    axis.set(title="Test accuracy while the weights are learned", xlabel="hyperiteration", xlim=_room(steps))
    axis.set_ylim(min(values.min(), *levels.values()) - 0.04, max(values.max(), *levels.values()) + 0.04)
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _histogram(axis: Axes, cleaning: Cleaning) -> None:
    clean, wrong = cleaning.weights[~cleaning.corrupted], cleaning.weights[cleaning.corrupted]
    axis.hist(wrong, bins=30, range=(0, 1), color=ORANGE, alpha=0.8, edgecolor="white", linewidth=0.6)
    axis.hist(clean, bins=30, range=(0, 1), color=BLUE, alpha=0.8, edgecolor="white", linewidth=0.6)
    axis.axvline(cleaning.report["threshold"], color=GREY, linestyle=(0, (2, 2)), linewidth=1.2)
    top = axis.get_ylim()[1]
    _label(axis, 0.12, top * 0.82, f"{len(wrong)} wrong labels", ORANGE, ha="left")
    _label(axis, 0.88, top * 0.82, f"{len(clean)} right labels", BLUE, ha="right")
    found = f"left of the line: found\nF1 {cleaning.report['f1']:.3f}"
    axis.text(cleaning.report["threshold"] - 0.015, top * 0.55, found, color=INK, ha="right", size=9)
    axis.set(title="Learned weight of each training example", xlabel="weight", ylabel="examples", xlim=(0, 1))
    axis.grid(visible=False, axis="x")


def _objective(axis: Axes, curves: Curves) -> None:
    steps, objective = _curve(curves, "outer_objective")
    axis.plot(steps, objective, color=BLUE)
    axis.set(title="Outer objective: validation loss of the trained model", xlabel="hyperiteration", xlim=_room(steps))
    axis.set_ylim(0, objective.max() * 1.08)
    last = f"{objective[0]:.2f} → {objective[-1]:.2f}"
    _label(axis, steps[-1], objective[-1] + 0.04 * objective.max(), last, BLUE, ha="right", va="bottom")


def _mean_weights(axis: Axes, curves: Curves) -> None:
    for name, text, colour in (
        ("outer/weight_clean", "right labels", BLUE),
        ("outer/weight_corrupted", "wrong labels", ORANGE),
    ):
        steps, values = _curve(curves, name)
        axis.plot(steps, values, color=colour)
        _label(axis, steps[-1], values[-1] + 0.025, text, colour, ha="right", va="bottom")
    axis.set(title="Mean weight", xlabel="hyperiteration", xlim=_room(steps), ylim=(0, 1.05))


def _few_shot(axis: Axes, curves: Curves) -> None:
    for name, text, colour in (("validation/accuracy", "meta-validation", GREY), ("test/accuracy", "meta-test", BLUE)):
        steps, values = _curve(curves, name)
        axis.plot(steps, values, color=colour, marker="o", markersize=4.5)
        low = name == "validation/accuracy"
        _label(axis, steps[-1], values[-1] + (-0.055 if low else 0.02), f"{text}, {values[-1]:.1%}", colour,
               ha="right", va="top" if low else "bottom")  # fmt: skip
    axis.axhline(0.2, color=GREY, linestyle=(0, (2, 2)), linewidth=1.2)
    _label(axis, steps[-1], 0.21, "chance", GREY, ha="right", va="bottom")
    axis.set(title="Omniglot, 5 new characters from one example each", xlabel="hyperiteration", xlim=_room(steps))
    axis.set_ylim(0.15, 1.0)
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
