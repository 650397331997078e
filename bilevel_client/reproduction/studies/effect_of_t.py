"""Effect of T (section 5.1, figures 2 and 3, table 2), and ridge regression where a larger T is better (appendix C)."""

import statistics
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from bilevel_client.reproduction.document import Document, Picture, Section, Table, Text
from bilevel_client.reproduction.figures import Band, lines, over_seeds
from bilevel_client.reproduction.study import TO_FOLLOW, Found, Member, Results, Stage, Study
from bilevel_client.reproduction.values import made_with, measured, unfinished

STEPS = (1, 4, 16, 64, 256)
PAPER_SECONDS = {1: 60, 4: 119, 16: 356, 64: 1344, 256: 5532}
"""Table 2, on a Tesla M40; the number of hyperiterations behind it is not known."""
FEATURES: dict[str, Any] = {
    "problem": {
        "kind": "hyper_representation",
        "dataset": {"kind": "omniglot"},
        "model": {"kind": "conv4", "filters": 64, "norm_scale": False},
        "way": 5,
        "shot": 1,
        "query": 15,
        "meta_batch": 16,
    },
    "algorithm": {
        "kind": "nested",
        "steps": 4,
        "dynamics": {"kind": "gradient_descent", "rate": 0.1},
        "optimizer": {"kind": "adam", "rate": 0.001, "decay": 1e-5},
        "hyperiterations": 600,
    },
    "evaluation": {"every": 300, "episodes": 300},
}
LINEAR: dict[str, Any] = {
    "problem": {
        "kind": "linear_representation",
        "dataset": {"kind": "omniglot"},
        "features": {"kind": "experiment", "experiment": TO_FOLLOW, "size": 256},
        "classes": 100,
        "train": 3,
        "validation": 3,
        "test": 14,
        "initial": "identity",
        "strength": 0.001,
    },
    "algorithm": {
        "kind": "nested",
        "steps": 1,
        "dynamics": {"kind": "gradient_descent", "rate": 1.0},
        "hypergradient": {"kind": "reverse"},
        "optimizer": {"kind": "momentum", "rate": 3.0, "momentum": 0.9},
        "hyperiterations": 400,
    },
    "evaluation": {"every": 10},
}
PIXELS: dict[str, Any] = {
    **LINEAR,
    "problem": {**LINEAR["problem"], "features": {"kind": "pixels", "size": 256}},
    "algorithm": {
        **LINEAR["algorithm"],
        "optimizer": {"kind": "momentum", "rate": 10.0, "momentum": 0.9},
        "hyperiterations": 200,
    },
    "evaluation": {"every": 5},
}


def _exactly(base: dict[str, Any]) -> dict[str, Any]:
    return {**base, "algorithm": {**base["algorithm"], "hypergradient": {"kind": "exact"}}}


RIDGE: dict[str, Any] = {
    "problem": {
        "kind": "regularization",
        "dataset": {"kind": "synthetic_regression", "points": 90, "relevant": 5, "irrelevant": 25, "noise": 1.0},
        "model": {"kind": "linear"},
        "strength": "feature",
        "initial_strength": 0.1,
        "train": 30,
        "validation": 30,
    },
    "algorithm": {
        "kind": "nested",
        "steps": 1,
        "dynamics": {"kind": "gradient_descent", "rate": 0.02},
        "hypergradient": {"kind": "reverse"},
        "optimizer": {"kind": "adam", "rate": 0.05},
        "hyperiterations": 100,
    },
    "evaluation": {"every": 10},
}
FROM_FEATURES = {"problem.features.experiment": "features"}
QUICK = {"algorithm.hyperiterations": 60, "evaluation.every": 10}


def report(results: Results) -> Document:
    """f_T against f, test accuracy by hyperiteration, time against T; then appendix C."""
    linear = {**_by_steps(results.get("unrolled to T")), **_exact(results.get("exact"))}
    pixels = {**_by_steps(results.get("pixels, unrolled to T")), **_exact(results.get("pixels, exact"))}
    ridge, asked = _by_steps(results.get("ridge")), _seeds(results.get("ridge"))
    sections = [
        *(_linear(linear) if linear else []),
        *([_pixels(pixels)] if pixels else []),
        *([_ridge(ridge, asked)] if ridge else []),
        Section("Made with", [made_with(results), *unfinished(results)]),
    ]
    return Document("The effect of T", sections)


def _linear(groups: Mapping[str, list[Member]]) -> list[Section]:
    about = Text(
        "Outer variables: H, 256 x 256, on features of the network that the stage `features` has learned. Inner: ridge "
        "regression on 3 training images a character. The same start, outer step and momentum for all. A character has "
        "20 images: 3 for training, 3 for validation, 14 for test, where the paper says 15."
    )
    table = Table(("", "test accuracy, chosen on validation", "best at", "last outer objective"), _rows(groups))
    return [
        Section("A linear representation of 100 characters", [about, table, *_pictures(groups, "")]),
        Section("Time against T", [_times(groups)]),
    ]


def _pixels(groups: Mapping[str, list[Member]]) -> Section:
    about = Text(
        "Features: 256 fixed random products of the pixels of 100 characters, 3 images of each for training, 3 for "
        "validation, 14 for test. What to look at is how much of what is gained on the validation set is gained on the "
        "test set."
    )
    columns = ("", "highest test accuracy on the way", "reached at", "at the end", "validation accuracy, end")
    table = Table(columns, _on_the_way(groups))
    return Section("On products of pixels", [about, table, *_pictures(groups, "_pixels")])


def _ridge(groups: Mapping[str, list[Member]], asked: int) -> Section:
    columns = ("", "test loss, chosen on validation", "best at", "last outer objective")
    table = Table(columns, _rows(groups, asked, "loss"))
    return Section("Ridge regression with irrelevant features (appendix C)", [table, *_ridge_pictures(groups)])


def _by_steps(found: Found | None) -> dict[str, list[Member]]:
    return {f"T = {steps}": members for steps in STEPS if found and (members := found.at(steps=steps))}


def _seeds(found: Found | None) -> int:
    return len({member.parameters["seed"] for member in found.members}) if found else 0


def _exact(found: Found | None) -> dict[str, list[Member]]:
    return {"exact": found.succeeded} if found and found.succeeded else {}


def _rows(groups: Mapping[str, list[Member]], asked: int = 1, metric: str = "accuracy") -> list[list[str]]:
    return [[name, _shown(members, asked, metric), _best(members), _last(members)] for name, members in groups.items()]


def _shown(members: list[Member], asked: int, metric: str) -> str:
    """With how many of the seeds that were asked for have succeeded."""
    value = measured(members, metric)
    assert value is not None
    scale, digits, unit = (100, 2, " %") if metric == "accuracy" else (1, 4, "")
    seeds = "" if asked == 1 else f" ({value.seeds} of {asked} seeds)"
    if asked > 1 and value.seeds == 1:
        seeds = f" (1 of {asked} seeds, interval over examples)"
    return f"{scale * value.mean:.{digits}f} ± {scale * value.interval:.{digits}f}{unit}{seeds}"


def _best(members: list[Member]) -> str:
    return ", ".join(str(member.result["best"]["hyperiteration"]) for member in members)


def _last(members: list[Member]) -> str:
    return f"{statistics.fmean(member.curves['outer_objective'].value[-1] for member in members):.4g}"


def _curves(groups: Mapping[str, list[Member]], series: str) -> dict[str, Band]:
    return {name: over_seeds([member.curves[series] for member in members]) for name, members in groups.items()}


def _on_the_way(groups: Mapping[str, list[Member]]) -> list[list[str]]:
    """Where the mean over seeds of the test accuracy is highest, with the least and greatest; and where it ends."""
    tests, validations = (_curves(groups, f"{part}/accuracy") for part in ("test", "validation"))
    rows = []
    for name, test in tests.items():
        top = max(range(len(test.mean)), key=test.mean.__getitem__)
        spread = f"{100 * test.mean[top]:.1f} % ({100 * test.low[top]:.1f} to {100 * test.high[top]:.1f})"
        ends = [f"{100 * band.mean[-1]:.1f} %" for band in (test, validations[name])]
        rows.append([name, spread, f"{test.x[top]:g}", *ends])
    return rows


def _pictures(groups: Mapping[str, list[Member]], suffix: str) -> list[Picture]:
    if not groups:
        return []
    objectives = _curves(groups, "outer_objective")
    objective = lines(objectives, title="Outer objective", y="$f_T$", logarithmic=True)
    accuracy = lines(_curves(groups, "test/accuracy"), title="Test accuracy", y="accuracy", fraction=True)
    caption = f"f_T and the exact f, as in figure 2 of the paper, where f_T tends to f as T grows.{_gaps(objectives)}"
    return [
        Picture(f"outer_objective{suffix}", caption, objective),
        Picture(f"test_accuracy{suffix}", "Test accuracy while H is optimized, as in figure 3 of the paper.", accuracy),
    ]


def _gaps(objectives: Mapping[str, Band]) -> str:
    """How far the last f_T is from the last f, and whether it is nearer with every larger T."""
    last = {name: band.mean[-1] for name, band in objectives.items()}
    exact = last.pop("exact", None)
    if exact is None or len(last) < 2:
        return ""
    gaps = {name: abs(value - exact) for name, value in last.items()}
    nearer = all(gap > following for gap, following in pairwise(gaps.values()))
    shown = ", ".join(f"{gap:.2g} ({name})" for name, gap in gaps.items())
    return f" Here |f_T - f| ends at {shown}: {'' if nearer else 'not '}smaller with every larger T."


def _ridge_pictures(groups: Mapping[str, list[Member]]) -> list[Picture]:
    if not groups:
        return []
    figure = lines(_curves(groups, "test/loss"), title="Test loss", y="loss")
    return [Picture("ridge", "Test loss while the strengths are optimized.", figure)]


def _times(groups: Mapping[str, list[Member]]) -> Table:
    seconds = {
        name: statistics.fmean(float(each.result["timing"]["seconds_per_hyperiteration"]) for each in members)
        for name, members in groups.items()
    }
    base, rows = seconds.get("T = 1"), []
    for name, each in seconds.items():
        steps = int(name.partition("= ")[2] or 0)
        paper = f"{PAPER_SECONDS[steps] / PAPER_SECONDS[1]:.1f}" if steps else ""
        rows.append([name, f"{1e3 * each:.2f} ms", f"{each / base:.1f}" if base else "", paper])
    return Table(("", "a hyperiteration", "over T = 1", "the paper, over T = 1"), rows)


STUDY = Study(
    "effect-of-t",
    "The effect of T",
    [
        Stage(
            "features",
            FEATURES,
            quick={
                "algorithm.hyperiterations": 40,
                "evaluation.every": 20,
                "evaluation.episodes": 20,
                "problem.meta_batch": 4,
            },
        ),
        Stage("pixels, exact", _exactly(PIXELS), seeds=(0, 1, 2), quick=QUICK),
        Stage("pixels, unrolled to T", PIXELS, {"algorithm.steps": STEPS}, seeds=(0, 1, 2), quick=QUICK),
        Stage("exact", _exactly(LINEAR), follows=FROM_FEATURES, quick=QUICK),
        Stage("unrolled to T", LINEAR, {"algorithm.steps": STEPS}, follows=FROM_FEATURES, quick=QUICK),
        Stage(
            "ridge",
            RIDGE,
            {"algorithm.steps": STEPS},
            seeds=(0, 1, 2),
            quick={"seeds": (0, 1), "algorithm.hyperiterations": 50},
        ),
    ],
    report,
)
