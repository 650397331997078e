"""Experiments side by side: where their specs differ, and what each reached."""

import json
import re
from typing import Any

import pytest

from bilevel_client import Client
from bilevel_client.commands.comparing import differences

QUADRATIC = {"problem": {"kind": "quadratic"}}


def result(loss: float, at: int) -> dict[str, Any]:
    return {
        "best": {"hyperiteration": at, "validation": {"loss": {"mean": loss, "ci95": None}}},
        "test": {"loss": {"mean": 2 * loss, "ci95": 0.01}, "accuracy": {"mean": 0.9, "ci95": 0.02}},
        "timing": {"total_seconds": 72.0},
        "memory": {"peak_mb": 356.0},
    }


@pytest.mark.parametrize(
    ("specs", "found"),
    [
        ([{"name": "a", "seed": 0}, {"name": "b", "seed": 1}], {"seed": [0, 1]}),
        ([{"a": {"kind": "x", "b": 1, "c": 2}}, {"a": {"kind": "x", "b": 1, "c": 3}}], {"a.c": [2, 3]}),
        ([{"a": {"kind": "x"}}, {"a": {"kind": "y", "c": 3}}], {"a": [{"kind": "x"}, {"kind": "y", "c": 3}]}),
        ([{"a": {}}, {"a": {"b": 1}}, {"a": {"b": None}}], {"a.b": [None, 1, None]}),
        ([{"a": [1, 2]}, {"a": [1]}], {"a": [[1, 2], [1]]}),
        ([{"a": None}, {"a": {"kind": "x"}}], {"a": [None, {"kind": "x"}]}),
        (
            [{"a": {"kind": "x", "b": 1}}, {"a": {"kind": "x", "b": 2}}, {"a": {"kind": "y", "b": 3}}],
            {"a": [{"kind": "x", "b": 1}, {"kind": "x", "b": 2}, {"kind": "y", "b": 3}], "a.b": [1, 2, None]},
        ),
        ([{"name": "a", "seed": 0}, {"name": "b", "seed": 0}], {}),
    ],
)
def test_differences(specs: list[dict[str, Any]], found: dict[str, list[Any]]) -> None:
    assert differences(specs) == found


def test_a_column_an_experiment(bilevel: Any, client: Client, slot: Any) -> None:
    methods = ({"kind": "reverse"}, {"kind": "implicit"}, {"kind": "reverse"})
    ids = [
        client.submit({**QUADRATIC, "name": f"q{seed}", "seed": seed, "algorithm": {"hypergradient": method}})["id"]
        for seed, method in enumerate(methods)
    ]
    for experiment_id, loss in zip(ids[:2], (0.5, 0.25), strict=True):
        slot.succeed(experiment_id, slot.start(experiment_id), result(loss, 40))
    shown = bilevel("compare", *(each[:12] for each in ids)).stdout
    rows = [re.split(r"\s{2,}", line.strip()) for line in shown.splitlines()]
    lines = {name: values for name, *values in rows}
    assert [each[:8] for each in ids] in rows
    assert lines["name"] == ["q0", "q1", "q2"]
    assert lines["status"] == ["succeeded", "succeeded", "queued"]
    assert lines["seed"] == ["0", "1", "2"]
    assert lines["hypergradient"] == ["reverse", "implicit", "reverse"]
    assert lines["best at"] == ["40", "40", "-"]
    assert lines["validation loss"] == ["0.5", "0.25", "-"]
    assert lines["test loss"] == ["1 ± 0.01", "0.5 ± 0.01", "-"]
    assert "steps" not in shown
    assert "data" not in shown
    told = json.loads(bilevel("compare", *ids[:2], "--json").stdout)
    assert told["differences"]["seed"] == [0, 1]
    assert [each["result"]["best"]["hyperiteration"] for each in told["experiments"]] == [40, 40]


def test_members_of_a_sweep_are_told_apart_by_their_parameters(bilevel: Any, client: Client) -> None:
    sweep = client.sweep({"name": "s", "base": QUADRATIC, "grid": {"steps": [1, 2]}})
    ids = [member["experiment_id"] for member in client.sweep_members(sweep["id"])]
    lines = [line.split() for line in bilevel("compare", *ids).stdout.splitlines()]
    assert ["steps", "1", "2"] in lines
    assert "name" not in {line[0] for line in lines if line}
    assert "validation" not in str(lines)


def test_other_data_under_the_same_spec_are_seen(bilevel: Any, client: Client, slot: Any) -> None:
    ids = [client.submit(QUADRATIC)["id"] for _ in range(3)]
    for experiment_id, digest in zip(ids, ("a" * 64, "b" * 64), strict=False):
        data = {"kind": "table", "name": "mine", "sha256": digest}
        slot.succeed(experiment_id, slot.start(experiment_id), result(0.5, 40) | {"data": data})
    shown = bilevel("compare", *ids).stdout
    assert re.search(r"data \(sha256\) +a{8} +b{8} +-", shown)


def test_one_experiment_is_not_compared(bilevel: Any, client: Client) -> None:
    experiment_id = client.submit(QUADRATIC)["id"]
    assert "two experiments or more" in bilevel("compare", experiment_id, experiment_id[:9], status=2).stderr
    assert "no experiment" in bilevel("compare", experiment_id, "ffffffff", status=2).stderr.lower()
