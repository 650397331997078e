"""The curves of docs/methods.md that are whole optimizations: in real time, and what the outer step does with noise."""

import statistics
import time

from benchmarks.method_curves import DIGITS_RIDGE, Line, Panel, Settings, last, spec_of
from core.build import build
from core.progress import Progress
from core.settings import settings
from core.spec import Experiment

LEARNED_RATE = {"kind": "heavy_ball", "rate": 0.02, "learn_rate": True}
OVERFITTING = {
    "kind": "regularization",
    "dataset": {"kind": "digits"},
    "initial_strength": 1.0,
    "train": 300,
    "validation": 300,
}
WAYS: dict[str, Settings] = {
    "nested, reverse, T = 100": {"kind": "nested", "steps": 100},
    "real_time, forward, interval = 10": {"kind": "real_time", "interval": 10},
    "real_time, reverse, interval = 10": {"kind": "real_time", "interval": 10, "hypergradient": {"kind": "reverse"}},
    "real_time, reverse, interval = 100": {"kind": "real_time", "interval": 100, "hypergradient": {"kind": "reverse"}},
}
OUTER_RATES = (0.1, 0.3, 1.0)
INNER_STEPS_IN_ALL = 2000


def real_time(rounds: int) -> list[Panel]:
    """E at w_T, or at the w that goes on, by inner steps and by the processor's seconds."""
    by_steps, by_seconds = [], []
    for name, way in WAYS.items():
        interval = way.get("steps") or way["interval"]
        count = INNER_STEPS_IN_ALL // interval
        curves = {}
        for rate in OUTER_RATES:
            algorithm = {**way, "dynamics": LEARNED_RATE, "optimizer": {"kind": "adam", "rate": rate}}
            curves[rate] = outer_objectives(spec_of(OVERFITTING, {**algorithm, "hyperiterations": count}, "float32"))
        rate = min(curves, key=lambda rate: last(curves[rate][0]))
        values, seconds = curves[rate]
        by_steps.append(Line(f"{name}; {rate:g}", [interval * (k + 1) for k in range(count)], values))
        by_seconds.append(Line(f"{name}; {rate:g}", seconds, values))
    title = "A strength and a rate"
    return [
        Panel(title, "inner steps", "validation loss", by_steps, (100, 300, 1000, 2000)),
        Panel("The same by time", "seconds of one processor", "validation loss", by_seconds, (0.1, 0.3, 1, 3)),
    ]


def outer_objectives(spec: Experiment) -> tuple[list[float], list[float]]:
    """E and the seconds so far, after each hyperiteration."""
    instance, algorithm = build(spec, device="cpu", data_dir=settings().data_dir)
    state, values, seconds = algorithm.init(instance.initial), [], []
    start = time.process_time()
    for k in range(spec.algorithm.hyperiterations):
        state, series = algorithm.step(k, state)
        values.append(float(series["outer_objective"]))
        seconds.append(time.process_time() - start)
    return values, seconds


LEARNED_DATA = {
    "kind": "learned_data",
    "objective": "validation",
    "outer_batch": 10,
    "train": 300,
    "validation": 600,
}
ADAM: Settings = {"kind": "adam", "rate": 0.3}
NOISY: dict[str, Settings] = {
    "adam": {"optimizer": ADAM},
    "adam, decay = 0.02": {"optimizer": {**ADAM, "decay": 0.02}},
    "adam, cosine": {"optimizer": {**ADAM, "cosine": True}},
    "adam, averaging = 0.95": {"optimizer": ADAM, "averaging": 0.95},
    "sgd, 3": {"optimizer": {"kind": "sgd", "rate": 3}},
    "momentum, 0.3": {"optimizer": {"kind": "momentum", "rate": 0.3}},
}
SQUARES = DIGITS_RIDGE | {"train": 300, "validation": 300, "initial_strength": 0.001}
TOO_FAST = {"kind": "gradient_descent", "rate": 0.3, "learn_rate": True}
"""Unstable at the start: L grows with every step."""
HYPERITERATIONS, EVERY = 200, 10


def outer_step(rounds: int) -> list[Panel]:
    """Validation loss of the outer variables that an evaluation takes; the outer step sees ten examples at a time."""
    lines = []
    for name, knobs in NOISY.items():
        runs = [evaluations({"steps": 10, "hyperiterations": HYPERITERATIONS, **knobs}, seed) for seed in range(3)]
        points = list(zip(*runs, strict=True))
        middle = [statistics.median(each) for each in points]
        bands = [min(each) for each in points], [max(each) for each in points]
        lines.append(Line(name, range(0, HYPERITERATIONS + 1, EVERY), middle, *bands))
    columns = (0, 20, 50, 100, 150, 200)
    noisy = Panel("Ten examples a step", "hyperiteration", "validation loss", lines, columns, ())
    return [noisy, _overshooting()]


def _overshooting() -> Panel:
    lines = []
    for name, knobs in {"adam, 0.1": {}, "adam, 0.1, clip = 0.1": {"clip": 0.1}}.items():
        optimizer = {"kind": "adam", "rate": 0.1, **knobs}
        algorithm = {"steps": 50, "hyperiterations": HYPERITERATIONS, "dynamics": TOO_FAST, "optimizer": optimizer}
        values, _ = outer_objectives(spec_of(SQUARES, algorithm, "float32"))
        lines.append(Line(name, range(HYPERITERATIONS), values))
    title, columns = "An enormous hypergradient at first", (0, 10, 30, 100, 150, 199)
    return Panel(title, "hyperiteration", "validation loss", lines, columns, (), (0.189, 0.206))


def evaluations(algorithm: Settings, seed: int) -> list[float]:
    """The validation loss at every evaluation."""
    spec = spec_of(LEARNED_DATA, algorithm, "float32", seed)
    instance, built = build(spec, device="cpu", data_dir=settings().data_dir)
    progress, found = Progress(0, built.init(instance.initial)), []
    for k in range(HYPERITERATIONS + 1):
        if k % EVERY == 0:
            progress, scores = progress.evaluate(instance, built)
            found.append(float(scores.validation["loss"]["mean"]))
        progress = progress.advance(built.step(k, progress.state)[0])
    return found
