"""Few-shot learning on Omniglot (section 5.2, table 3): 5 and 20 ways, 1 and 5 shots."""

from collections.abc import Mapping
from typing import Any

from bilevel_client.reproduction.document import Document, Picture, Section, Table, Text
from bilevel_client.reproduction.figures import Band, lines, over_seeds
from bilevel_client.reproduction.study import Results, Stage, Study
from bilevel_client.reproduction.values import COLUMNS, against, cost, made_with, measured, unfinished


def _base(way: int, shot: int, meta_batch: int, steps: int, hyperiterations: int) -> dict[str, Any]:
    """The paper's network and optimizer; T, the inner rate and early stopping are chosen on meta-validation."""
    return {
        "problem": {
            "kind": "hyper_representation",
            "dataset": {"kind": "omniglot"},
            "model": {"kind": "conv4", "filters": 64, "norm_scale": False},
            "way": way,
            "shot": shot,
            "query": 15,
            "meta_batch": meta_batch,
        },
        "algorithm": {
            "kind": "nested",
            "steps": steps,
            "dynamics": {"kind": "gradient_descent", "rate": 0.1},
            "hypergradient": {"kind": "reverse"},
            "optimizer": {"kind": "adam", "rate": 0.001, "decay": 1e-5},
            "hyperiterations": hyperiterations,
        },
        "evaluation": {"every": 500, "episodes": 600},
    }


PAPER: Mapping[str, tuple[float, float]] = {
    "5-way 1-shot": (98.6, 99.0),
    "5-way 5-shot": (99.5, 99.7),
    "20-way 1-shot": (95.5, 96.5),
    "20-way 5-shot": (98.4, 99.0),
}
"""Setting -> the paper's accuracy, and ours to be at least."""
QUICK: dict[str, Any] = {
    "algorithm.hyperiterations": 60,
    "evaluation.every": 30,
    "evaluation.episodes": 60,
    "problem.meta_batch": 4,
}
STAGES = [
    Stage("5-way 1-shot", _base(5, 1, 16, 4, 3000), quick=QUICK),
    Stage("5-way 5-shot", _base(5, 5, 16, 4, 3000), quick=QUICK),
    Stage("20-way 1-shot", _base(20, 1, 8, 4, 4000), quick=QUICK),
    Stage("20-way 5-shot", _base(20, 5, 4, 4, 3000), quick=QUICK),
]


def report(results: Results) -> Document:
    """The row of table 3, both conventions of the norms, and the curves."""
    rows, modes, bands = [], [], {}
    for setting, (paper, bar) in PAPER.items():
        members = results[setting].succeeded if setting in results else []
        rows.append(against(setting, paper, measured(members), bar=bar))
        both = [measured(members, f"accuracy_{which}_statistics") for which in ("batch", "running")]
        shown = ["" if value is None else f"{100 * value.mean:.2f} ± {100 * value.interval:.2f}" for value in both]
        chosen = ", ".join(str(member.result["best"]["hyperiteration"]) for member in members)
        modes.append([setting, *shown, chosen, cost(members)])
        if members:
            bands[setting] = over_seeds([member.curves["validation/accuracy"] for member in members])
    columns = ("", "batch statistics", "running statistics", "hyperiteration chosen", "cost")
    return Document(
        "Omniglot",
        [
            Section(
                "Meta-test accuracy (per cent) over 600 episodes",
                [
                    Table(COLUMNS, rows),
                    Text(
                        "Outer variables, and with them the hyperiteration, are chosen on meta-validation alone. "
                        "Support and query sets are disjoint. Intervals are 95 %: over seeds where there are several, "
                        "else over episodes."
                    ),
                    Table(columns, modes),
                ],
            ),
            Section("Curves", [_picture(bands)] if bands else []),
            Section("Made with", [made_with(results), *unfinished(results)]),
        ],
    )


def _picture(bands: Mapping[str, Band]) -> Picture:
    figure = lines(bands, title="Meta-validation accuracy", y="accuracy", fraction=True)
    return Picture("omniglot", "Accuracy on meta-validation episodes by hyperiteration.", figure)


STUDY = Study("omniglot", "Few-shot learning on Omniglot", STAGES, report, data=("omniglot",))
