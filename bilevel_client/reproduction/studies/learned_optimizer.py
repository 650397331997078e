"""Learned optimizers (Andrychowicz et al. 2016) against tuned SGD, momentum and Adam, on tasks not seen."""

from collections.abc import Mapping, Sequence
from typing import Any

from bilevel_client.records import Series
from bilevel_client.reproduction.document import Document, Picture, Section, Table, Text
from bilevel_client.reproduction.figures import lines, over_seeds
from bilevel_client.reproduction.study import Found, Member, Results, Stage, Study
from bilevel_client.reproduction.values import absent, cost, ending, mean_of

OPTIMIZERS = ("learned", "sgd", "momentum", "adam")
HORIZONS = {"trained": "as long as it was trained for", "longer": "twice as long"}


def _base(tasks: Mapping[str, Any], network: str, rate: float, hyperiterations: int = 2000) -> dict[str, Any]:
    """Twenty steps an unroll, five unrolls an inner run."""
    return {
        "problem": {
            "kind": "learned_optimizer",
            "optimizer": {"kind": network},
            "tasks": dict(tasks),
            "meta_batch": 16,
            "unrolls": 5,
        },
        "algorithm": {
            "kind": "nested",
            "steps": 20,
            "hypergradient": {"kind": "unrolled"},
            "optimizer": {"kind": "adam", "rate": rate},
            "hyperiterations": hyperiterations,
        },
        "evaluation": {"every": 100, "episodes": 64},
    }


QUADRATICS = {"kind": "quadratics"}
DIGITS = {"kind": "classification", "dataset": {"kind": "digits"}}
QUICK = {"algorithm.hyperiterations": 100, "evaluation.every": 50, "evaluation.episodes": 16}
STAGES = [
    Stage("quadratics, LSTM", _base(QUADRATICS, "lstm", 0.003), quick=QUICK),
    Stage("quadratics, MLP", _base(QUADRATICS, "mlp", 0.001), quick=QUICK),
    Stage("digits, LSTM", _base(DIGITS, "lstm", 0.003, 500), quick=QUICK),
    Stage("digits, MLP", _base(DIGITS, "mlp", 0.001), quick=QUICK),
]


def report(results: Results) -> Document:
    """Final losses by optimizer, and loss by step."""
    sections = [
        Section("What is compared", [Text(WORDS)]),
        *(_section(stage.name, results[stage.name]) for stage in STAGES if stage.name in results),
        *ending(results),
    ]
    return Document("Learned optimizers", sections)


WORDS = (
    "The rates of SGD, momentum (0.9) and Adam are tuned on the validation tasks, over a logarithmic grid, for the "
    "loss after the last step and for each number of steps; all losses are those of test tasks that none of them has "
    "seen, with 95 % intervals over tasks."
)


def _section(name: str, found: Found) -> Section:
    members = found.succeeded
    parts: list[Text | Table | Picture] = [] if members else [Text(f"Nothing to show: {absent(found)}.")]
    if members:
        rows = [[optimizer, *(_cell(members, horizon, optimizer) for horizon in HORIZONS)] for optimizer in OPTIMIZERS]
        report = members[0].result["report"]
        steps = [f"after {report[horizon]['steps']} steps, {text}" for horizon, text in HORIZONS.items()]
        words = Text(f"Seeds: {len(members)}. Cost: {cost(members)}.")
        parts = [Table(("", *steps), rows), words, _picture(name, members)]
    return Section(name, parts)


def _cell(members: Sequence[Member], horizon: str, optimizer: str) -> str:
    found = [member.result["report"][horizon][optimizer] for member in members]
    value = mean_of([each["loss"] for each in found])
    assert value is not None
    rates = ", ".join(dict.fromkeys(f"{each['rate']:.3g}" for each in found if "rate" in each))
    rate = f" (rate {rates})" if rates else ""
    edge = ", at the edge of its grid" if any(each.get("at_the_edge_of_the_grid") for each in found) else ""
    return f"{value.mean:.4g} ± {value.interval:.2g}{rate}{edge}"


def _picture(name: str, members: Sequence[Member]) -> Picture:
    bands = {}
    for optimizer in OPTIMIZERS:
        curves = [member.result["report"]["longer"][optimizer]["curve"] for member in members]
        bands[optimizer] = over_seeds(
            [Series(curve["steps"], [float(value) for value in curve["loss"]], None) for curve in curves]
        )
    figure = lines(bands, title=f"Loss on test tasks: {name}", y="mean loss", x="step", logarithmic=True)
    trained = members[0].result["report"]["trained"]["steps"]
    caption = f"Mean loss on test tasks by step. The learned optimizer was trained for the first {trained}."
    return Picture(name.replace(", ", "_").lower(), caption, figure)


STUDY = Study("learned-optimizer", "Learned optimizers", STAGES, report)
