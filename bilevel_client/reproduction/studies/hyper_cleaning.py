"""Data hyper-cleaning on MNIST in the setting of Franceschi et al. 2017: 5000 / 5000 / 10 000, 2500 labels flipped."""

from bilevel_client.reproduction.document import Document, Picture, Section, Table
from bilevel_client.reproduction.figures import lines, over_seeds
from bilevel_client.reproduction.study import Found, Member, Results, Stage, Study
from bilevel_client.reproduction.values import COLUMNS, against, cost, made_with, mean_of, unfinished

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
PAPER = {"oracle": 90.46, "baseline": 87.74, "learned": 90.09}
NAMES = {
    "oracle": "oracle: the right labels alone",
    "baseline": "baseline: all labels, equal weights",
    "learned": "learned weights, sum at most 2500",
}


def report(results: Results) -> Document:
    """The table of Franceschi et al. 2017, section 5.1, for radius 2500, and the curves behind it."""
    found = results.get("mnist")
    members = found.succeeded if found else []
    rows = [
        against(
            text,
            PAPER[name],
            mean_of([member.result["report"][name]["accuracy"] for member in members]),
            bar=90.2 if name == "learned" else None,
        )
        for name, text in NAMES.items()
    ]
    rows += [
        _f1(members, "F1, found where a weight is below half of its first value", None),
        _f1(members, "F1, found where a weight is 0 (below 0.001)", "removed"),
    ]
    parts = [Table(COLUMNS, rows), Table(("", "cost"), [["a hyperiteration, and how many", cost(members)]])]
    pictures = _pictures(found) if found and members else []
    return Document(
        "Data hyper-cleaning on MNIST",
        [
            Section("Test accuracy (per cent) of models fitted to training and validation examples", parts),
            Section("Curves", pictures),
            Section("Made with", [made_with(results), *unfinished(results)]),
        ],
    )


def _f1(members: list[Member], name: str, part: str | None) -> list[str]:
    """Of the found corruptions, by the report or a part of it."""
    reports = [member.result["report"] if part is None else member.result["report"][part] for member in members]
    if not reports:
        return [name, "0.9217", "not run", "", ""]
    value = sum(float(report["f1"]) for report in reports) / len(reports)
    verdict = "met" if value >= 0.93 else "missed"
    return [name, "0.9217", f"{value:.4f} (bar 0.93: {verdict})", f"{value - 0.9217:+.4f}", str(len(members))]


def _pictures(found: Found) -> list[Picture]:
    curves = [member.curves for member in found.succeeded]
    f1 = {"F1": over_seeds([each["outer/f1"] for each in curves])}
    weights = {
        "clean examples": over_seeds([each["outer/weight_clean"] for each in curves]),
        "corrupted examples": over_seeds([each["outer/weight_corrupted"] for each in curves]),
    }
    return [
        Picture("f1", "F1 of the found corruptions.", lines(f1, title="Found corruptions", y="F1")),
        Picture("weights", "Mean weight by what an example is.", lines(weights, title="Mean weight", y="weight")),
    ]


STUDY = Study(
    "hyper-cleaning",
    "Data hyper-cleaning",
    [
        Stage(
            "mnist",
            BASE,
            quick={"algorithm.steps": 100, "algorithm.hyperiterations": 40, "problem.final_steps": 500},
        )
    ],
    report,
)
