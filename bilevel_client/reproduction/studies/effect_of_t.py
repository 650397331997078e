"""Effect of T (section 5.1, figures 2 and 3, table 2), and ridge regression where a larger T is better (appendix C)."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from bilevel_client.reproduction.document import Document, Picture, Section, Table, Text
from bilevel_client.reproduction.figures import Band, lines, over_seeds
from bilevel_client.reproduction.step_times import COMPARED, PAPER, WORDS, compared
from bilevel_client.reproduction.study import TO_FOLLOW, Found, Member, Results, Stage, Study
from bilevel_client.reproduction.values import INTERVALS, ended, ending, measured, percent

STEPS = (1, 4, 16, 64, 256)
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


class Group(NamedTuple):
    """The experiments of one T, or of the exact solution, that differ by their seeds."""

    succeeded: list[Member]
    seeds: str
    """How many of those that were asked for have succeeded."""
    otherwise: str
    """How the others ended."""


Groups = Mapping[str, Group]


def report(results: Results) -> Document:
    """f_T against f, test accuracy by hyperiteration, time against T; then appendix C."""
    linear = {**_by_steps(results.get("unrolled to T")), **_exact(results.get("exact"))}
    pixels = {**_by_steps(results.get("pixels, unrolled to T")), **_exact(results.get("pixels, exact"))}
    ridge = _by_steps(results.get("ridge"))
    sections = [
        *(_linear(linear) if linear else []),
        *([_pixels(pixels)] if pixels else []),
        *([_ridge(ridge)] if ridge else []),
        *ending(results),
    ]
    return Document("The effect of T", sections)


def _linear(groups: Groups) -> list[Section]:
    about = Text(
        "Outer variables: H, 256 x 256, on features of the network that the stage `features` has learned. Inner: ridge "
        "regression on 3 training images a character. The same start, outer step and momentum for all. A character has "
        "20 images: 3 for training, 3 for validation, 14 for test, where the paper says 15."
    )
    table = Table(("", "test accuracy, chosen on validation", *COLUMNS), _rows(groups, _accuracy))
    return [
        Section("A linear representation of 100 characters", [about, table, INTERVALS, *_pictures(groups, "")]),
        Section("Time against T", [_times(groups), WORDS]),
    ]


def _pixels(groups: Groups) -> Section:
    about = Text(
        "Features: 256 fixed random products of the pixels of 100 characters, 3 images of each for training, 3 for "
        "validation, 14 for test. What to look at is how much of what is gained on the validation set is gained on the "
        "test set. Means over seeds; in brackets the least and greatest."
    )
    columns = ("", "highest test accuracy on the way", "seeds", "reached at", "at the end", "validation accuracy, end")
    table = Table(columns, _on_the_way(groups))
    return Section("On products of pixels", [about, table, *_pictures(groups, "_pixels")])


COLUMNS = ("seeds", "best at", "last outer objective")


def _ridge(groups: Groups) -> Section:
    table = Table(("", "test loss, chosen on validation", *COLUMNS), _rows(groups, _loss))
    return Section(
        "Ridge regression with irrelevant features (appendix C)", [table, INTERVALS, *_ridge_pictures(groups)]
    )


def _by_steps(found: Found | None) -> dict[str, Group]:
    if found is None:
        return {}
    return {f"T = {steps}": _group(found, members) for steps in STEPS if (members := found.every(steps=steps))}


def _exact(found: Found | None) -> dict[str, Group]:
    return {"exact": _group(found, found.members)} if found and found.members else {}


def _group(found: Found, members: Sequence[Member]) -> Group:
    succeeded = [member for member in members if member.result]
    return Group(succeeded, f"{len(succeeded)} of {len(found.stage.seeds)}", ended(members))


def _rows(groups: Groups, shown: Callable[[Sequence[Member]], str]) -> list[list[str]]:
    return [
        [name, shown(group.succeeded), group.seeds, _best(group.succeeded), _last(group.succeeded)]
        if group.succeeded
        else [name, group.otherwise, group.seeds, "", ""]
        for name, group in groups.items()
    ]


def _accuracy(members: Sequence[Member]) -> str:
    return f"{percent(measured(members))} %"


def _loss(members: Sequence[Member]) -> str:
    value = measured(members, "loss")
    assert value is not None
    return f"{value.mean:.4g} ± {value.interval:.4g}"


def _best(members: Sequence[Member]) -> str:
    return ", ".join(str(member.result["best"]["hyperiteration"]) for member in members)


def _last(members: Sequence[Member]) -> str:
    return f"{statistics.fmean(member.curves['outer_objective'].value[-1] for member in members):.4g}"


def _curves(groups: Groups, series: str) -> dict[str, Band]:
    """Of those with an experiment that has succeeded."""
    return {
        name: over_seeds([member.curves[series] for member in group.succeeded])
        for name, group in groups.items()
        if group.succeeded
    }


def _on_the_way(groups: Groups) -> list[list[str]]:
    """Where the mean over seeds of the test accuracy is highest, with the least and greatest; and where it ends."""
    tests, validations = (_curves(groups, f"{part}/accuracy") for part in ("test", "validation"))
    rows = []
    for name, group in groups.items():
        if not group.succeeded:
            rows.append([name, group.otherwise, group.seeds, "", "", ""])
            continue
        test = tests[name]
        top = max(range(len(test.mean)), key=test.mean.__getitem__)
        spread = f"{100 * test.mean[top]:.1f} % ({100 * test.low[top]:.1f} to {100 * test.high[top]:.1f})"
        ends = [f"{100 * band.mean[-1]:.1f} %" for band in (test, validations[name])]
        rows.append([name, spread, group.seeds, f"{test.x[top]:g}", *ends])
    return rows


def _pictures(groups: Groups, suffix: str) -> list[Picture]:
    objectives = _curves(groups, "outer_objective")
    if not objectives:
        return []
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


def _ridge_pictures(groups: Groups) -> list[Picture]:
    if not (losses := _curves(groups, "test/loss")):
        return []
    figure = lines(losses, title="Test loss", y="loss")
    return [Picture("ridge", "Test loss while the strengths are optimized.", figure)]


def _times(groups: Groups) -> Table:
    milliseconds = {
        name: 1e3 * statistics.fmean(each.result["timing"]["seconds_per_hyperiteration"] for each in group.succeeded)
        for name, group in groups.items()
        if group.succeeded
    }
    ours, paper = compared(milliseconds, "ms"), compared(PAPER, "s")
    rows = []
    for name, group in groups.items():
        here = [f"{milliseconds[name]:.2f} ms", *ours[name]] if name in ours else [group.otherwise, "", ""]
        there = [f"{PAPER[name]:g} s", *paper[name]] if name in paper else ["", "", ""]
        rows.append([name, *here, group.seeds, *there])
    return Table(("", "a hyperiteration", *COMPARED, "seeds", "the paper", *COMPARED), rows)


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
