"""Few-shot learning on miniImageNet (section 5.2, table 3 and figure 4): C4L, with our recipe too, and RN."""

from collections.abc import Mapping, Sequence
from typing import Any

from bilevel_client.reproduction.document import Document, Picture, Section, Table, Text
from bilevel_client.reproduction.figures import lines
from bilevel_client.reproduction.meta_validation import (
    DETAILS,
    FIELD,
    accuracy_by_hyperiteration,
    by_steps,
    choice_of_steps,
    chosen_steps,
    details,
    is_curve,
)
from bilevel_client.reproduction.study import TO_FOLLOW, Found, Member, Results, Stage, Study
from bilevel_client.reproduction.values import COLUMNS, INTERVALS, against, ending, measured

C4L = {"kind": "conv4", "filters": 32, "downsample": "max_pool", "norm_scale": False}
RN = {"kind": "residual"}
STEPS = (2, 4, 5, 8)
"""Of figure 4."""
LENGTHS = (4, 8, 16, 64)
"""T of heads on a representation that was trained with 64; meta-validation chooses."""


def _base(model: Mapping[str, Any], shot: int, meta_batch: int, rate: float, steps: int) -> dict[str, Any]:
    return {
        "problem": {
            "kind": "hyper_representation",
            "dataset": {"kind": "mini_imagenet"},
            "model": dict(model),
            "way": 5,
            "shot": shot,
            "query": 15,
            "meta_batch": meta_batch,
        },
        "algorithm": {
            "kind": "nested",
            "steps": steps,
            "dynamics": {"kind": "gradient_descent", "rate": rate},
            "hypergradient": {"kind": "reverse"},
            "optimizer": {"kind": "adam", "rate": 0.001, "decay": 1e-5},
            "hyperiterations": 40000,
        },
        "evaluation": {"every": 1000, "episodes": 600, "patience": 10},
    }


def _recipe() -> dict[str, Any]:
    """C4L and its heads, trained on tasks of 20 ways, with more and shorter steps and a falling outer rate.

    The 800 features of a norm without scale have ||x||^2 of about 1200 at first, ten times that of Omniglot's: hence
    the inner rate. 18 000 meta-batches of one task, 120 images each, are 56 passes over the images of meta-training,
    which are mirrored at random. Cross-fitting takes so much of the noise away that twice the outer rate is better.
    Support sets of five images are too few for the statistics of norms: those of meta-training serve better.
    """
    base = _base(C4L, 1, 1, 0.003, 64)
    adam = {"kind": "adam", "rate": 0.002, "cosine": True, "clip": 1.0}
    tasks = {"training_way": 20, "training_query": 5, "cross_fitting": True}
    features = {"centred": True, "normalization": "running", "average_reflections": True}
    return {
        "problem": {**base["problem"], "dataset": {"kind": "mini_imagenet", "reflections": True}, **tasks, **features},
        "algorithm": {**base["algorithm"], "optimizer": adam, "averaging": 0.998, "hyperiterations": 18_000},
        "evaluation": {"every": 6000, "episodes": 600, "patience": 3},
        "resources": {"precision": "bf16"},
    }


def _recipe_of_rn() -> dict[str, Any]:
    """The same tasks, heads and features for RN, whose features are shorter: centred, ||x||^2 is 9 at first, not 400.

    The rates are those, of six pairs, with the smallest training loss after 700 hyperiterations. RN would know the
    images of its 64 classes by heart after half of the hyperiterations: it never sees the same one twice.
    """
    base = _recipe()
    adam = {**base["algorithm"]["optimizer"], "rate": 0.0005}
    inner = {**base["algorithm"]["dynamics"], "rate": 0.2}
    dataset = {**base["problem"]["dataset"], "smallest_crop": 0.35, "colours": 0.4}
    return {
        **base,
        "problem": {**base["problem"], "dataset": dataset, "model": dict(RN)},
        "algorithm": {**base["algorithm"], "dynamics": inner, "optimizer": adam, "hyperiterations": 20_000},
        "evaluation": {"every": 5000, "episodes": 600, "patience": 4},
    }


def _more_shots(base: Mapping[str, Any]) -> dict[str, Any]:
    """The representation of 1-shot learning, a little further with five support examples a class, 200 images a task."""
    problem = {name: value for name, value in base["problem"].items() if name != "cross_fitting"}
    start = {"kind": "experiment", "experiment": TO_FOLLOW}
    adam = {**base["algorithm"]["optimizer"], "rate": base["algorithm"]["optimizer"]["rate"] / 4}
    return {
        **base,
        "problem": {**problem, "shot": 5, "start": start},
        "algorithm": {**base["algorithm"], "optimizer": adam, "hyperiterations": 1000},
        "evaluation": {"every": 1000, "episodes": 600, "patience": 3},
    }


def _as_it_is(recipe: Mapping[str, Any], shot: int) -> dict[str, Any]:
    """The representation of 1-shot learning, but for one hyperiteration, with heads of other lengths.

    Heads are best before they have fitted their examples, RN's long before.
    """
    base = _more_shots(recipe)
    cross_fitting = {"cross_fitting": True} if shot == 1 else {}
    return {
        **base,
        "problem": {**base["problem"], "shot": shot, **cross_fitting},
        "algorithm": {**base["algorithm"], "hyperiterations": 1},
        "evaluation": {"every": 1, "episodes": 600, "patience": 3},
    }


RECIPE = "C4L 1-shot, our recipe"
FEWER_STEPS = "C4L 1-shot, T of four by meta-validation"
MORE_SHOTS = "C4L 5-shot, from 1 shot"
RECIPE_OF_RN = "RN 1-shot, our recipe"
FEWER_STEPS_OF_RN = "RN 1-shot, T of four by meta-validation"
MORE_SHOTS_OF_RN = "RN 5-shot from 1 shot, T of four by meta-validation"
PAPER: dict[str, tuple[float | None, float | None]] = {
    "C4L 1-shot": (47.51, 48.5),
    RECIPE: (47.51, 48.5),
    FEWER_STEPS: (47.51, 48.5),
    "C4L 5-shot": (None, None),
    MORE_SHOTS: (None, None),
    "RN 1-shot": (50.54, 52.0),
    RECIPE_OF_RN: (50.54, 52.0),
    FEWER_STEPS_OF_RN: (50.54, 52.0),
    "RN 5-shot": (64.53, 67.0),
    MORE_SHOTS_OF_RN: (64.53, 67.0),
}
"""Stage -> the paper's accuracy, where it has one, and ours to be at least."""
QUICK: dict[str, Any] = {
    "algorithm.hyperiterations": 10,
    "evaluation.every": 10,
    "evaluation.episodes": 20,
    "problem.meta_batch": 2,
}


CAPTION = (
    "Accuracy on meta-validation episodes, where there is more than one hyperiteration. A stage that starts from "
    "another counts its own."
)


def report(results: Results) -> Document:
    """The columns of table 3, and accuracy against T."""
    rows, modes, bands = [], [], {}
    for stage, (paper, bar) in PAPER.items():
        found = results.get(stage)
        members = _chosen(found) if found else []
        rows.append(against(stage, paper, found, measured(members), bar=bar))
        if members:
            modes.append(details(stage, members))
            bands[stage] = accuracy_by_hyperiteration(members)
    sections = [
        Section(
            "Meta-test accuracy (per cent)",
            [
                Table(COLUMNS, rows),
                INTERVALS,
                Text(
                    "Outer variables are chosen on meta-validation alone; support and query sets are disjoint. Our "
                    "recipe has the paper's network and heads; it is trained on tasks of 20 classes with 5 query "
                    "examples each, one a meta-batch, whose examples are support examples in turn and are mirrored at "
                    "random; it has 64 steps of 0.003 instead of 5 of 0.01, shortened hypergradients, an outer rate "
                    "that falls along a cosine, averaged outer variables, and passes in bfloat16. The mean of its set "
                    "is taken from features (transductive); in evaluations they are the mean of those of an image and "
                    "its mirror image, with the norms' statistics of meta-training. Five shots go on from the "
                    "representation of one. For RN, 64 steps of 0.2 instead of 5 of 0.04 in meta-training; its images "
                    "of meta-training are cropped and recoloured at random besides. Where one representation has heads "
                    "of several T, the row is that of the T which is best on meta-validation in the mean over seeds."
                ),
                *([Table(DETAILS, modes)] if modes else []),
            ],
        )
    ]
    curves = {name: band for name, band in bands.items() if is_curve(band)}
    if curves:
        figure = lines(curves, title="Meta-validation accuracy", y="accuracy", fraction=True)
        sections.append(Section("Curves", [Picture("mini-imagenet", CAPTION, figure)]))
    sections += [choice_of_steps(found, name) for name, found in results.items() if FIELD in found.stage.grid]
    sections += ending(results)
    return Document("miniImageNet", sections)


def _chosen(found: Found) -> Sequence[Member]:
    """Of a stage with several T, the experiments with the one that meta-validation chooses."""
    groups = by_steps(found) if FIELD in found.stage.grid else {}
    return groups[chosen_steps(groups)] if groups else found.succeeded


def _by_length(followed: str, name: str, base: dict[str, Any]) -> Stage:
    quick = QUICK | {"algorithm.hyperiterations": 1, "evaluation.every": 1, "grid": {FIELD: (4, 64)}}
    follows, optional = {"problem.start.experiment": followed}, followed == RECIPE_OF_RN
    return Stage(name, base, {FIELD: LENGTHS}, follows=follows, quick=quick, optional=optional)


STUDY = Study(
    "mini-imagenet",
    "Few-shot learning on miniImageNet",
    [
        Stage("C4L 1-shot", _base(C4L, 1, 4, 0.01, 5), quick=QUICK, optional=True),
        Stage(RECIPE, _recipe(), quick=QUICK),
        _by_length(RECIPE, FEWER_STEPS, _as_it_is(_recipe(), 1)),
        Stage("C4L 5-shot", _base(C4L, 5, 2, 0.01, 5), quick=QUICK, optional=True),
        Stage(MORE_SHOTS, _more_shots(_recipe()), follows={"problem.start.experiment": RECIPE}, quick=QUICK),
        Stage("RN 1-shot", _base(RN, 1, 2, 0.04, 5), quick=QUICK, optional=True),
        Stage(RECIPE_OF_RN, _recipe_of_rn(), quick=QUICK, optional=True),
        _by_length(RECIPE_OF_RN, FEWER_STEPS_OF_RN, _as_it_is(_recipe_of_rn(), 1)),
        Stage("RN 5-shot", _base(RN, 5, 2, 0.04, 5), quick=QUICK, optional=True),
        _by_length(RECIPE_OF_RN, MORE_SHOTS_OF_RN, _as_it_is(_recipe_of_rn(), 5)),
        Stage("RN 1-shot by T", _base(RN, 1, 2, 0.04, 5), {FIELD: STEPS}, quick=QUICK, optional=True),
    ],
    report,
)
