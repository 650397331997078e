"""A sweep from the command line to its table, through the API and a worker that are real."""

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from bilevel_client import Client
from bilevel_client.commands import main

pytestmark = pytest.mark.service


def bilevel(address: str, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments), env={"BILEVEL_URL": address, "BILEVEL_API_KEY": None})
    return result.exit_code, result.stdout


def test_a_sweep_runs_to_its_table(service, address, tmp_path: Path) -> None:
    spec = {
        "name": "toy",
        "problem": {"kind": "quadratic", "inner_dimension": 4, "outer_dimension": 2},
        "algorithm": {"hyperiterations": 5},
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    methods = 'algorithm.hypergradient=[{"kind":"reverse"},{"kind":"unrolled"}]'
    service.start_worker(slots=2)
    status, output = bilevel(
        address,
        *("sweep", str(tmp_path / "spec.json"), "--grid", "steps=1,16", "--grid", methods),
        *("--seeds", "0..1", "--wait", "--json"),
    )
    record = json.loads(output)
    assert status == 0
    assert (record["members"], record["counts"]["succeeded"], record["progress"]["fraction"]) == (8, 8, 1.0)
    with Client(address) as client:
        members = client.sweep_members(record["id"])
        results = [client.result(member["experiment_id"]) for member in members]
    reached = [each["best"]["validation"]["loss"]["mean"] for each in results]
    assert [member["score"]["validation"] for member in members] == reached
    assert (record["best"]["validation"], record["best"]["member"]) == (min(reached), reached.index(min(reached)))
    assert [cell["succeeded"] for cell in record["cells"]] == [2] * 4
    for number, cell in enumerate(record["cells"]):
        first, second = reached[2 * number : 2 * number + 2]
        assert math.isclose(cell["validation"]["mean"], (first + second) / 2)
        assert math.isclose(cell["validation"]["deviation"], abs(first - second) / math.sqrt(2))
    assert math.isclose(reached[0], reached[2], rel_tol=1e-4), "reverse and unrolled are the same hypergradient"
    status, table = bilevel(address, "sweeps", "show", record["id"][:8])
    assert status == 0
    assert "8: 8 succeeded" in table


def test_members_that_diverge_can_be_retried(service, address) -> None:
    sweep = {
        "base": {"problem": {"kind": "quadratic"}, "algorithm": {"hyperiterations": 3}},
        "grid": {"dynamics.rate": [0.5, 1000.0]},
    }
    service.start_worker()
    with Client(address) as client:
        record = client.wait_sweep(client.sweep(sweep)["id"], timeout=60)
        assert (record["counts"]["succeeded"], record["counts"]["failed"]) == (1, 1)
        assert client.retry_sweep(record["id"])["retried"] == 1
        again = client.wait_sweep(record["id"], timeout=60)
        assert (again["counts"]["failed"], again["best"]["member"]) == (1, 0)
        assert [member["trial"] for member in client.sweep_members(record["id"])] == [1, 2]
        assert client.sweep_members(record["id"])[1]["error"]["code"] == "diverged"
