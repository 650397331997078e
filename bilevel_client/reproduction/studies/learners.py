"""Few-shot learners of one framework, on the same episodes with the same budget."""

from typing import Any

from bilevel_client.reproduction.document import Document, Section, Table, Text
from bilevel_client.reproduction.meta_validation import accuracies
from bilevel_client.reproduction.study import Results, Stage, Study
from bilevel_client.reproduction.values import INTERVALS, against, cost, ending, measured

Spec = dict[str, Any]
PUBLISHED = {
    "hyper-representation": 98.6,
    "ridge heads": None,
    "prototypes": None,
    "MAML": 98.7,
    "first-order MAML": None,
    "Meta-SGD": 99.5,
    "ANIL": None,
    "iMAML": 99.16,
    "Reptile": None,
}
"""Omniglot 5-way 1-shot, after 60 000 hyperiterations or so."""
REVERSE: Spec = {"kind": "reverse"}


def _stage(name: str, problem: Spec, steps: int, rate: float, hypergradient: Spec, **algorithm: Any) -> Stage:
    """600 hyperiterations of 16 tasks on the paper's network."""
    few_shot = {
        "dataset": {"kind": "omniglot"},
        "model": {"kind": "conv4", "filters": 64},
        "way": 5,
        "shot": 1,
        "query": 15,
        "meta_batch": 16,
    }
    base = {
        "problem": {**few_shot, **problem},
        "algorithm": {
            "kind": "nested",
            "steps": steps,
            "dynamics": {"kind": "gradient_descent", "rate": rate},
            "hypergradient": hypergradient,
            "optimizer": {"kind": "adam", "rate": 0.001},
            "hyperiterations": 600,
            **algorithm,
        },
        "evaluation": {"every": 200, "episodes": 600},
    }
    quick = {"algorithm.hyperiterations": 5, "evaluation.every": 5, "evaluation.episodes": 20}
    return Stage(name, base, quick=quick)


def _stages() -> list[Stage]:
    representation: Spec = {"kind": "hyper_representation"}
    initialization: Spec = {"kind": "initialization"}
    ridge = {**representation, "heads": {"kind": "ridge", "strength": 1, "scale": 10}}
    prototypes = {**representation, "heads": {"kind": "prototypes"}}
    rates = {"kind": "gradient_descent", "rate": 0.1, "learn_rate": True, "rate_per_parameter": True}
    implicit = {"kind": "implicit", "solver": {"kind": "cg", "iterations": 5}}
    average = {"kind": "sgd", "rate": 1.0, "decay": 0.001}
    return [
        _stage("hyper-representation", representation, 4, 0.02, REVERSE),
        _stage("ridge heads", ridge, 1, 0.1, {"kind": "exact"}),
        _stage("prototypes", prototypes, 1, 0.1, {"kind": "exact"}),
        _stage("MAML", initialization, 1, 0.4, REVERSE),
        _stage("first-order MAML", initialization, 1, 0.4, {"kind": "first_order"}),
        _stage("Meta-SGD", initialization, 1, 0.1, REVERSE, dynamics=rates),
        _stage("ANIL", {**initialization, "adapt": "head"}, 5, 0.02, REVERSE),
        _stage("iMAML", {**initialization, "proximal": 2.0}, 16, 0.02, implicit),
        _stage("Reptile", initialization, 5, 0.1, {"kind": "reptile"}, optimizer=average),
    ]


WORDS = (
    "The same network, the same episodes, the same 600 hyperiterations of 16 tasks, one outer optimizer (Reptile has "
    "its own): a hundredth of what the published figures were trained for, so that the table compares how fast they "
    "learn, and not where they end. Rates and numbers of inner steps are those of the examples, which nobody tuned for "
    "this. Ridge heads are those of R2D2 (Bertinetto et al. 2019); prototypical networks are not bilevel."
)


def report(results: Results) -> Document:
    """Accuracies after a small budget, and on the way."""
    members = {name: results[name].succeeded for name in PUBLISHED if name in results}
    rows = [
        against(name, published, results.get(name), measured(members.get(name, [])))
        for name, published in PUBLISHED.items()
    ]
    table = Table(("", "published", "ours", "difference", "seeds"), rows)
    costs = Table(("", "cost"), [[name, cost(found)] for name, found in members.items()])
    return Document(
        "Few-shot learners of one framework",
        [
            Section(
                "Meta-test accuracy (per cent), Omniglot 5-way 1-shot",
                [Text(WORDS), table, INTERVALS, costs, *accuracies("learners", members)],
            ),
            *ending(results),
        ],
    )


STUDY = Study("learners", "Few-shot learners", _stages(), report)
