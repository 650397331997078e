"""`bilevel plan`: what a person reads and a script gets, and how it ends where the spec is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bilevel_client import Client
from bilevel_client.commands import main

SPEC: dict[str, Any] = {
    "name": "flipped labels",
    "problem": {"kind": "hyper_cleaning"},
    "algorithm": {"steps": 20_000, "hypergradient": {"kind": "unrolled"}},
    "resources": {"memory_limit": 1000},
}


@pytest.fixture
def spec(tmp_path: Path) -> str:
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(SPEC))
    return str(file)


def run(address: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["plan", *arguments, "--url", address])


def test_a_person_reads_what_it_takes_and_what_fits(address: str, spec: str) -> None:
    answer = run(address, spec)
    assert answer.exit_code == 0, answer.output
    for text in (
        "flipped labels",
        "graphs of all steps",
        "peak of 1000",
        "a hyperiteration",
        "does not fit",
        "reverse",
    ):
        assert text in answer.output
    with Client(address) as client:
        assert list(client.list()) == []


def test_a_script_gets_the_answer(address: str, spec: str) -> None:
    answer = run(address, spec, "--json", "--set", "algorithm.hypergradient.kind=reverse")
    with Client(address) as client:
        reverse = {**SPEC, "algorithm": {"steps": 20_000, "hypergradient": {"kind": "reverse"}}}
        assert json.loads(answer.output) == client.plan(reverse)


def test_measured_rates_are_used(address: str, spec: str, tmp_path: Path) -> None:
    rates = tmp_path / "rates.json"
    rates.write_text(json.dumps({"name": "mine", "operator_seconds": 1e-3, "memory_mb": None}))
    found = json.loads(run(address, spec, "--json", "--rates", str(rates), "--device", "cpu").output)
    assert found["device"]["operator_seconds"] == 1e-3
    rates.write_text(json.dumps({"bf16_operations_per_second": 2e11}))
    assert "200 Gflop/s in bf16" in run(address, spec, "--rates", str(rates)).output
    rates.write_text("[]")
    assert run(address, spec, "--rates", str(rates)).exit_code == 2


def test_a_wrong_spec_names_the_field(address: str, spec: str) -> None:
    answer = run(address, spec, "--set", "problem.corruption=2")
    assert answer.exit_code == 2
    assert "less than 1" in answer.output


def test_a_sweep_is_planned_by_its_combinations(address: str, spec: str, tmp_path: Path) -> None:
    answer = run(address, spec, "--grid", "steps=100,20000", "--seeds", "0..2", "--set", "resources.time_limit=60")
    assert answer.exit_code == 0, answer.output
    assert "6 members, one after the other: about" in answer.output
    lines = {line.split()[0]: line for line in answer.output.splitlines() if line.split()}
    assert lines["100"].rstrip().endswith("fits")
    assert lines["20000"].rstrip().endswith("memory and time: above the limit")
    file = tmp_path / "sweep.json"
    file.write_text(json.dumps({"base": SPEC, "grid": {"steps": [100, 20_000]}}))
    with Client(address) as client:
        assert json.loads(run(address, str(file), "--json").output) == client.plan_sweep(json.loads(file.read_text()))
        assert list(client.sweeps()) == []


def test_a_sweep_over_devices_names_them(address: str, spec: str) -> None:
    shown = run(address, spec, "--grid", "device=cpu,cuda").output
    assert "Reckoned for cpu: " in shown
    assert "Reckoned for cuda: " in shown
