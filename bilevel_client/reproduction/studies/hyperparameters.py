"""Hyperparameter optimization: strengths, schedules, rates in real time, cross-validation, learned data."""

from collections.abc import Mapping, Sequence
from typing import Any

from bilevel_client.reproduction.document import Document, Picture, Section, Table, Text
from bilevel_client.reproduction.figures import Band, lines, over_seeds
from bilevel_client.reproduction.study import Member, Results, Stage, Study
from bilevel_client.reproduction.values import INTERVALS, absent, cost, ending, measured

Spec = dict[str, Any]
IMPLICIT: Spec = {"kind": "implicit", "solver": {"kind": "cg"}}
REVERSE: Spec = {"kind": "reverse"}
DESCENT: Spec = {"kind": "gradient_descent", "rate": 0.5}
ADAM: Spec = {"kind": "adam", "rate": 0.1}
MOMENTUM: Spec = {
    "kind": "heavy_ball",
    "rate": 0.02,
    "learn_rate": True,
    "rate_per_step": True,
    "momentum": 0.5,
    "learn_momentum": True,
    "momentum_per_step": True,
}


def _stage(name: str, problem: Spec, evaluations: int, **algorithm: Any) -> Stage:
    every = max(1, algorithm["hyperiterations"] // evaluations)
    base = {"problem": problem, "algorithm": {"optimizer": ADAM, **algorithm}, "evaluation": {"every": every}}
    return Stage(name, base, quick={"algorithm.hyperiterations": 2, "evaluation.every": 1})


def _strengths(data: str, strength: str) -> Stage:
    """From a strength that is too large, for as long as strengths of useless features leave the inner steps stable."""
    problem = {
        "kind": "regularization",
        "dataset": {"kind": data},
        "strength": strength,
        "initial_strength": 0.1,
    }
    which = {"global": "one strength", "feature": "one strength a feature"}[strength]
    name = f"{data}, {which}"
    return _stage(name, problem, 10, steps=200, dynamics=DESCENT, hypergradient=IMPLICIT, hyperiterations=30)


def _stages() -> list[Stage]:
    digits: Spec = {"kind": "regularization", "dataset": {"kind": "digits"}, "initial_strength": 0.001}
    constants = {**MOMENTUM, "rate_per_step": False, "momentum_per_step": False}
    reversible: Spec = {"kind": "reversible"}
    folds = {
        "kind": "regularization",
        "dataset": {"kind": "diabetes"},
        "strength": "feature",
        "initial_strength": 1.0,
        "folds": 5,
    }
    data: Spec = {
        "kind": "learned_data",
        "dataset": {"kind": "mnist"},
        "model": {"kind": "linear"},
        "examples_per_class": 1,
        "initial": "noise",
        "outer_batch": 1000,
        "train": 20000,
        "validation": 5000,
        "final_steps": 200,
    }
    learned_rate = {"kind": "gradient_descent", "rate": 0.02, "learn_rate": True}
    return [
        *(_strengths(data, strength) for data in ("20news", "a9a") for strength in ("global", "feature")),
        _stage(
            "digits, one rate and momentum, 100 steps",
            digits, 20, steps=100, dynamics=constants, hypergradient=reversible, hyperiterations=100,
        ),
        _stage(
            "digits, a rate and a momentum for each of 100 steps",
            digits, 20, steps=100, dynamics=MOMENTUM, hypergradient=reversible, hyperiterations=100,
        ),
        _stage(
            f"digits, rate and momentum of one training run of 500 steps ({REAL_TIME})",
            digits, 10, kind="real_time", interval=10, dynamics=constants, hypergradient={"kind": "forward"},
            hyperiterations=50,
        ),
        _stage(
            "diabetes, one strength a feature, five folds",
            folds, 10, hypergradient={"kind": "exact"}, hyperiterations=100,
        ),
        _stage(
            "MNIST, ten images that teach it in 20 steps",
            data, 10, steps=20, dynamics=learned_rate, hypergradient=REVERSE, hyperiterations=200,
            optimizer={"kind": "adam", "rate": 0.05},
        ),
    ]  # fmt: skip


COMPARED = ("20news", "a9a", "digits")
"""Data sets of several stages."""
REAL_TIME = "real time"
"""Whose hyperiterations are parts of one training run."""
WORDS = (
    "`before` has the outer variables of the spec, `after` those that validation chose on the way. Outer variables "
    "start badly on purpose. Losses are cross-entropies, of `diabetes` half of the squared error in units of the "
    "target's variance."
)


def report(results: Results) -> Document:
    """Test metrics before and after, and validation losses on the way."""
    members = {stage.name: results[stage.name].succeeded for stage in STUDY.stages if stage.name in results}
    rows = [
        _row(name, found) if found else [name, "", absent(results[name]), "", "", "", ""]
        for name, found in members.items()
    ]
    columns = ("", "test loss before", "after", "test accuracy before", "after", "seeds", "cost")
    pictures = [_picture(data, bands) for data in COMPARED if (bands := _bands(data, members))]
    table = Section("Before and after", [Text(WORDS), Table(columns, rows), INTERVALS, *pictures])
    return Document("Hyperparameter optimization", [table, *ending(results)])


def _bands(data: str, members: Mapping[str, Sequence[Member]]) -> dict[str, Band]:
    """Validation losses of the stages on one data set."""
    return {
        name.removeprefix(f"{data}, "): over_seeds([member.curves["validation/loss"] for member in found])
        for name, found in members.items()
        if found and name.startswith(f"{data}, ") and REAL_TIME not in name
    }


def _picture(data: str, bands: Mapping[str, Band]) -> Picture:
    figure = lines(bands, title=f"Validation loss, {data}", y="validation loss", logarithmic=True)
    return Picture(data, f"Validation loss by hyperiteration, {data}.", figure)


def _row(name: str, members: Sequence[Member]) -> list[str]:
    return [
        name,
        _before(members, "loss", 1, 4),
        _after(members, "loss", 1, 4),
        _before(members, "accuracy", 100, 2),
        _after(members, "accuracy", 100, 2),
        str(len(members)),
        cost(members),
    ]


def _before(members: Sequence[Member], metric: str, scale: float, digits: int) -> str:
    curves = [member.curves.get(f"test/{metric}") for member in members]
    values = [scale * curve.value[0] for curve in curves if curve is not None]
    return f"{sum(values) / len(values):.{digits}f}" if values else ""


def _after(members: Sequence[Member], metric: str, scale: float, digits: int) -> str:
    if metric not in members[0].result["test"]:
        return ""
    value = measured(members, metric)
    assert value is not None
    return f"{scale * value.mean:.{digits}f} ± {scale * value.interval:.{digits}f}"


STUDY = Study("hyperparameters", "Hyperparameter optimization", _stages(), report)
