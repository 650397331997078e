"""Data hyper-cleaning on MNIST in the setting of Franceschi et al. 2017: 5000 / 5000 / 10 000, 2500 labels flipped."""

from collections.abc import Sequence

from bilevel_client.reproduction.document import Document, Picture, Section, Table, Text
from bilevel_client.reproduction.figures import Band, lines, over_seeds
from bilevel_client.reproduction.study import Found, Member, Results, Stage, Study
from bilevel_client.reproduction.values import COLUMNS, INTERVALS, absent, against, cost, ending, mean_of, verdict
from bilevel_client.specs import assign

BASE = {
    "problem": {
        "kind": "hyper_cleaning",
        "dataset": {"kind": "mnist"},
        "standardize": False,
        "train": 5000,
        "validation": 5000,
        "test": 10000,
        "corruption": 0.5,
        "flip": "other",
        "l2": 0.0,
        "weights": {"kind": "clipped", "radius": 2500},
        "final_steps": 4000,
        "final_on": "train_and_validation",
    },
    "algorithm": {
        "kind": "nested",
        "steps": 1000,
        "dynamics": {"kind": "gradient_descent", "rate": 0.2},
        "hypergradient": {"kind": "reverse"},
        "optimizer": {"kind": "adam", "rate": 0.01},
        "hyperiterations": 180,
    },
    "evaluation": {"every": 25},
}
RECIPE = assign(
    BASE,
    [
        "problem.l2=0.003",
        "algorithm.steps=500",
        "algorithm.optimizer.rate=0.02",
        "algorithm.hyperiterations=80",
        "evaluation.every=20",
    ],
)
SHORT = {"mnist": "original's setting", "recipe": "our recipe"}
PAPER = {"oracle": 90.46, "baseline": 87.74, "learned": 90.09}
NAMES = {
    "oracle": "oracle: the right labels alone",
    "baseline": "baseline: all labels, equal weights",
    "learned": "learned weights, sum at most 2500",
}
TITLES = {
    "mnist": "**In the original's setting**: no strength, T = 1000.",
    "recipe": "**Our recipe**: a strength of 0.003 in the inner objective, T = 500, fewer and longer outer steps.",
}


SHOWN = 0.1
"""Of the axis of F1, so that bars which are a hundredth apart can be told apart."""


def report(results: Results) -> Document:
    """The table of Franceschi et al. 2017, section 5.1, for radius 2500, and the curves behind it."""
    parts = [part for name, title in TITLES.items() for part in (Text(title), *_table(results.get(name)))]
    return Document(
        "Data hyper-cleaning on MNIST",
        [
            Section(
                "Test accuracy (per cent) of models fitted to training and validation examples", [*parts, INTERVALS]
            ),
            Section("Curves", _pictures(results)),
            *ending(results),
        ],
    )


def _table(found: Found | None) -> list[Text | Table]:
    """Accuracies and F1 of a stage beside the paper's, and what it cost."""
    members = found.succeeded if found else []
    rows = [
        against(
            text,
            PAPER[name],
            found,
            mean_of([member.result["report"][name]["accuracy"] for member in members]),
            bar=90.2 if name == "learned" else None,
        )
        for name, text in NAMES.items()
    ]
    rows += [
        _f1(found, "F1, found where a weight is below half of its first value", None),
        _f1(found, "F1, found where a weight is 0 (below 0.001)", "removed"),
    ]
    costs = [Text(f"Cost: {cost(members)}.")] if members else []
    return [Table(COLUMNS, rows), *costs]


def _f1(found: Found | None, name: str, part: str | None) -> list[str]:
    """Of the found corruptions, by the report or a part of it."""
    whole = [member.result["report"] for member in found.succeeded] if found else []
    reports = whole if part is None else [report[part] for report in whole]
    if not reports:
        return [name, "0.9217", absent(found), "", ""]
    value = sum(float(report["f1"]) for report in reports) / len(reports)
    shown = f"{value:.4f}{verdict(found, value, 0.93)}"
    return [name, "0.9217", shown, f"{value - 0.9217:+.4f}", str(len(reports))]


def _pictures(results: Results) -> list[Picture]:
    found = {name: results[name].succeeded for name in TITLES if name in results and results[name].succeeded}
    if not found:
        return []

    def mean(members: Sequence[Member], series: str) -> Band:
        return over_seeds([member.curves[f"outer/{series}"] for member in members])

    f1 = {SHORT[name]: mean(members, "f1") for name, members in found.items()}
    weights = {
        f"{text}, {SHORT[name]}": mean(members, series)
        for name, members in found.items()
        for series, text in (("weight_clean", "clean"), ("weight_corrupted", "corrupted"))
    }
    caption = f"F1 of the found corruptions. It starts at 0; the axis shows the uppermost {SHOWN:g} alone."
    return [
        Picture("f1", caption, lines(f1, title="Found corruptions", y="F1", below=SHOWN)),
        Picture("weights", "Mean weight by what an example is.", lines(weights, title="Mean weight", y="weight")),
    ]


QUICK = {"algorithm.steps": 100, "algorithm.hyperiterations": 40, "problem.final_steps": 500}
STUDY = Study(
    "hyper-cleaning",
    "Data hyper-cleaning",
    [Stage("mnist", BASE, quick=QUICK), Stage("recipe", RECIPE, seeds=(0, 1, 2), quick={**QUICK, "seeds": (0,)})],
    report,
)
