"""Specs in files and values set from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from bilevel_client import specs

SPEC: dict[str, Any] = {"problem": {"kind": "quadratic"}, "hidden": [1, 2]}


def test_json_and_yaml_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(SPEC))
    (tmp_path / "a.yaml").write_text("problem:\n  kind: quadratic\nhidden: [1, 2]\n")
    assert specs.load(tmp_path / "a.json") == specs.load(tmp_path / "a.yaml") == SPEC


@pytest.mark.parametrize("text", [".nan", "-.inf"])
def test_numbers_that_json_does_not_have_become_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yml").write_text(f"rate: {text}\n")
    assert specs.load(tmp_path / "a.yml") == {"rate": {".nan": "NaN", "-.inf": "-Infinity"}[text]}


@pytest.mark.parametrize(("text", "value"), [("1e-5", 1e-5), ("1E3", 1000.0), ("-2.5e+1", -25.0), ("3", 3)])
def test_numbers_in_yaml_are_numbers(tmp_path: Path, text: str, value: float) -> None:
    (tmp_path / "a.yml").write_text(f"rate: {text}\n")
    assert specs.load(tmp_path / "a.yml") == {"rate": value}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"a": }', "line 1, column 7"),
        ("a.json", "[]", "object"),
        ("a.yaml", "a: [", "not YAML"),
        ("a.yaml", "just text", "object"),
        ("a.yaml", "labels: {day: 2026-01-01}", "quotes"),
        ("a.yaml", "a: !!python/object/apply:os.getcwd []", "not YAML"),
    ],
)
def test_files_that_are_no_specs(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(specs.BadSpec, match=message):
        specs.load(tmp_path / name)


def test_a_sweep_is_no_experiment(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"base": {}}')
    with pytest.raises(specs.BadSpec, match=r"submit it by `bilevel sweep .*a\.json`"):
        specs.experiment(tmp_path / "a.json", [])


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe")
    with pytest.raises(specs.BadSpec, match="cannot be read"):
        specs.load(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("seed=3", {**SPEC, "seed": 3}),
        ("name=plain text", {**SPEC, "name": "plain text"}),
        ('name="3"', {**SPEC, "name": "3"}),
        ("problem.damping=1e-3", {**SPEC, "problem": {"kind": "quadratic", "damping": 0.001}}),
        ("hidden.1=5", {**SPEC, "hidden": [1, 5]}),
        ("hidden=[3]", {**SPEC, "hidden": [3]}),
        ("algorithm.dynamics.rate=1", {**SPEC, "algorithm": {"dynamics": {"rate": 1}}}),
        ("labels.a=b=c", {**SPEC, "labels": {"a": "b=c"}}),
        ("labels.run=3", {**SPEC, "labels": {"run": "3"}}),
        ("seed=NaN", {**SPEC, "seed": "NaN"}),
    ],
)
def test_values_are_set(setting: str, expected: dict[str, Any]) -> None:
    before = json.dumps(SPEC)
    assert specs.assign(SPEC, [setting]) == expected
    assert json.dumps(SPEC) == before


@pytest.mark.parametrize("setting", ["seed", "=3", "a..b=1", "problem.kind.x=1", "hidden.7=1", "hidden.x=1"])
def test_settings_that_cannot_be(setting: str) -> None:
    with pytest.raises(specs.BadSpec, match=setting.partition("=")[0].split(".")[0] or "="):
        specs.assign(SPEC, [setting])
