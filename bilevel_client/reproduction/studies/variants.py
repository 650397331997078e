"""Variants of representation learning (section 5.3, table 4): 5-way 1-shot, heads fitted by 5 gradient steps."""

from functools import partial
from typing import Any

from bilevel_client.reproduction.document import Document, Section, Table, Text
from bilevel_client.reproduction.meta_validation import accuracies
from bilevel_client.reproduction.study import Results, Stage, Study
from bilevel_client.reproduction.values import COLUMNS, INTERVALS, against, cost, ending, measured

Spec = dict[str, Any]
PAPER = {
    "hyper-representation": 47.51,
    "multiclass": 43.02,
    "approx": 41.12,
    "classic": 40.46,
    "approx-train": 38.80,
    "bilevel-train": 29.63,
}
"""Table 4, miniImageNet with C4L, in the order of their accuracy."""
WITHOUT_QUERY = {"outer_set": "support", "training_shot": 16}


def _stages(data: Spec, model: Spec, rate: float, rate_on_scores: float, hyperiterations: int) -> list[Stage]:
    """All six, on the same data with the same network; scores of all classes as features want a rate of their own."""
    episodes = {"dataset": data, "model": model, "way": 5, "shot": 1, "query": 15}
    few_shot = {"kind": "hyper_representation", "meta_batch": 4, **episodes}
    common: Spec = {
        "steps": 5,
        "dynamics": {"kind": "gradient_descent", "rate": rate},
        "optimizer": {"kind": "adam", "rate": 0.001, "decay": 1e-5},
        "hyperiterations": hyperiterations,
    }
    evaluation = {"every": hyperiterations // 5, "episodes": 600}

    def stage(name: str, problem: Spec, **algorithm: Any) -> Stage:
        return Stage(
            name, {"problem": problem, "algorithm": {**common, **algorithm}, "evaluation": evaluation}, quick=QUICK
        )

    without_query = {**few_shot, **WITHOUT_QUERY}
    reverse, approx = {"kind": "reverse"}, {"kind": "first_order"}
    return [
        stage("hyper-representation", few_shot, hypergradient=reverse),
        stage(
            "multiclass",
            {"kind": "multiclass_transfer", "batch": 128, **episodes},
            hypergradient={"kind": "exact"},
            dynamics={"kind": "gradient_descent", "rate": rate_on_scores},
        ),
        stage("approx", few_shot, hypergradient=approx),
        stage("classic", without_query, kind="joint", interval=5),
        stage("approx-train", without_query, hypergradient=approx),
        stage("bilevel-train", without_query, hypergradient=reverse),
    ]


def report(results: Results, *, paper: bool = True) -> Document:
    """Table 4: accuracies, with the paper's beside them or without, and whether their order is the paper's."""
    members = {name: results[name].succeeded for name in PAPER if name in results}
    values = {name: measured(members.get(name, [])) for name in PAPER}
    rows = [against(name, PAPER[name] if paper else None, results.get(name), value) for name, value in values.items()]
    means = {name: value.mean for name, value in values.items() if value}
    order = sorted(means, key=means.__getitem__, reverse=True)
    same = "the paper's order" if order == list(PAPER) else f"the paper's order is {', '.join(PAPER)}"
    said = f"Best first: {', '.join(order) or 'none so far'} ({same})."
    costs = [[name, cost(found)] for name, found in members.items()]
    note = "" if paper else " The paper's table is of miniImageNet; here the same variants are compared on Omniglot."
    return Document(
        "Variants of representation learning",
        [
            Section(
                "Meta-test accuracy (per cent), 5-way 1-shot",
                [
                    Text(said + note),
                    Table(COLUMNS, rows),
                    INTERVALS,
                    Table(("", "cost"), costs),
                    *accuracies("variants", members),
                ],
            ),
            *ending(results),
        ],
    )


C4L: Spec = {"kind": "conv4", "filters": 32, "downsample": "max_pool", "norm_scale": False}
QUICK: Spec = {"algorithm.hyperiterations": 10, "evaluation.every": 10, "evaluation.episodes": 20}
STUDY = Study(
    "variants",
    "Variants of representation learning (table 4)",
    _stages({"kind": "mini_imagenet"}, C4L, 0.01, 0.001, 20000),
    report,
)
OMNIGLOT = Study(
    "variants-omniglot",
    "The variants of table 4 on Omniglot",
    _stages({"kind": "omniglot"}, {"kind": "conv4", "filters": 64, "norm_scale": False}, 0.03, 0.0003, 1000),
    partial(report, paper=False),
)
