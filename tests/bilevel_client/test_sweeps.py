"""Sweeps from Python and from the command line, against a real server."""

import csv
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from bilevel_client import Client, Invalid, NotFound, StillRunning
from bilevel_client.commands.following_sweep import follow_sweep
from core.store import finishing

SPEC: dict[str, Any] = {"name": "toy", "problem": {"kind": "quadratic"}}
SWEEP: dict[str, Any] = {"name": "a sweep", "base": SPEC, "grid": {"steps": [1, 2]}, "seeds": [0, 1]}


def result(validation: float, test: float) -> dict[str, Any]:
    return {
        "best": {"hyperiteration": 3, "validation": {"accuracy": {"mean": validation, "ci95": 0.1, "examples": 9}}},
        "test": {"accuracy": {"mean": test, "ci95": 0.1, "examples": 9}, "loss": {"mean": "NaN"}},
        "selection": {"metric": "accuracy", "better": "higher"},
    }


@pytest.fixture
def spec(tmp_path: Path) -> str:
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(SPEC))
    return str(file)


@pytest.fixture
def worker(slot: Any, address: str) -> Any:
    """Runs every member of the first sweep that comes, in the background; one of them may fail."""
    threads = []

    def run(failing: int | None) -> None:
        with Client(address) as client:
            while not (found := list(client.sweeps())):
                time.sleep(0.05)
            members = client.sweep_members(found[0]["id"])
        for number, member in enumerate(members):
            experiment_id = member["experiment_id"]
            attempt = slot.start(experiment_id)
            slot.write(experiment_id, attempt, {"outer_objective": dict.fromkeys(range(50), 1.0)})
            if number == failing:
                slot.fail(experiment_id, attempt, finishing.Failure("user", "diverged", "Lower the rate."))
            else:
                slot.succeed(experiment_id, attempt, result(0.9 + number / 100, 0.8))

    def start(failing: int | None = None) -> None:
        threads.append(threading.Thread(target=run, args=[failing]))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(20)


class TestClient:
    def test_submit_look_cancel_retry(self, client: Client) -> None:
        record = client.sweep(SWEEP, idempotency_key="k")
        assert client.sweep(SWEEP, idempotency_key="k") == record == client.get_sweep(record["id"])
        assert [member["status"] for member in client.sweep_members(record["id"])] == ["queued"] * 4
        assert {each["sweep"]["id"] for each in client.list(sweep=record["id"])} == {record["id"]}
        with pytest.raises(StillRunning, match=r"not ended after 0\.2 s"):
            client.wait_sweep(record["id"], timeout=0.2)
        assert client.cancel_sweep(record["id"])["counts"]["cancelled"] == 4
        assert client.wait_sweep(record["id"])["ended"]
        assert client.retry_sweep(record["id"])["retried"] == 4
        assert [member["trial"] for member in client.sweep_members(record["id"])] == [2] * 4

    def test_lists_and_beginnings(self, client: Client) -> None:
        made = [client.sweep({**SWEEP, "name": f"s{n}", "labels": {"n": str(n)}})["id"] for n in range(3)]
        assert [record["id"] for record in client.sweeps()] == made[::-1]
        assert [record["id"] for record in client.sweeps(limit=1)] == [made[2]]
        assert [record["id"] for record in client.sweeps(labels={"n": "1"})] == [made[1]]
        assert [record["id"] for record in client.sweeps(name="S0")] == [made[0]]
        assert client.find_sweep(made[0][:13]) == client.find_sweep(made[0]) == made[0]
        with pytest.raises(NotFound, match="no sweep whose id begins with"):
            client.find_sweep("0" * 32)

    def test_refusals(self, client: Client) -> None:
        with pytest.raises(Invalid, match="/grid/steps/1") as caught:
            client.sweep({**SWEEP, "grid": {"steps": [1, 0]}})
        assert caught.value.errors[0]["pointer"] == "/grid/steps/1"

    def test_wait_returns_at_the_end(self, client: Client, worker: Any) -> None:
        worker()
        record = client.wait_sweep(client.sweep(SWEEP)["id"], timeout=20)
        assert record["counts"]["succeeded"] == 4
        assert record["best"]["validation"] == 0.93


class TestCommands:
    def test_sweep_prints_the_id(self, bilevel: Any, spec: str) -> None:
        arguments = ("--grid", "steps=1,4", "--grid", 'hypergradient=[{"kind":"reverse"},{"kind":"unrolled"}]')
        sweep_id = bilevel("sweep", spec, *arguments, "--seeds", "0..2", "--set", "problem.damping=1").stdout.strip()
        record = json.loads(bilevel("sweeps", "show", sweep_id[:8], "--json").stdout)
        assert (record["id"], record["members"], record["name"]) == (sweep_id, 12, "toy")
        assert record["spec"]["seeds"] == [0, 1, 2]
        assert record["spec"]["base"]["problem"]["damping"] == 1
        members = json.loads(bilevel("sweeps", "members", sweep_id, "--json").stdout)
        assert members[-1]["parameters"]["algorithm.hypergradient"] == {"kind": "unrolled"}
        shown = bilevel("show", members[5]["experiment_id"]).stdout
        assert f"{sweep_id}, member 5, trial 1" in shown

    def test_with_a_key_twice_is_one(self, bilevel: Any, spec: str) -> None:
        first = bilevel("sweep", spec, "--seeds", "0..1", "--key", "k", "--name", "n").stdout
        assert first == bilevel("sweep", spec, "--seeds", "0..1", "--key", "k", "--name", "n").stdout
        assert len(json.loads(bilevel("sweeps", "list", "--json").stdout)) == 1

    def test_a_whole_sweep_from_standard_input(self, bilevel: Any) -> None:
        text = "name: s\nbase: {problem: {kind: quadratic}}\ngrid: {steps: [1, 2]}\nseeds: [0, 1]\n"
        record = json.loads(bilevel("sweep", "-", "--seeds", "5", "--json", stdin=text).stdout)
        assert (record["members"], record["spec"]["seeds"]) == (2, [5])

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--grid", "steps"], "field=value"),
            (["--seeds", "a..b"], "whole numbers"),
            (["--grid", "steps=1,0"], "/grid/steps/1"),
            (["--grid", "stps=1"], "use `algorithm.steps`"),
        ],
    )
    def test_refusals_are_exit_status_2(self, bilevel: Any, spec: str, arguments: list[str], message: str) -> None:
        assert message in bilevel("sweep", spec, *arguments, status=2).stderr

    def test_without_a_service(self, bilevel: Any, spec: str) -> None:
        bilevel.address = "http://127.0.0.1:1"
        bilevel("sweep", spec, status=3)

    def test_wait_ends_with_the_table(self, bilevel: Any, spec: str, worker: Any) -> None:
        worker()
        arguments = ("--grid", "steps=1,2", "--seeds", "0,1", "--name", "my sweep", "--wait")
        answer = bilevel("sweep", spec, *arguments)
        assert "my sweep" in answer.stdout
        assert "4: 4 succeeded" in answer.stdout
        assert "400/400 hyperiterations" in answer.stdout
        assert "validation accuracy" in answer.stdout
        assert "90.50 ± 0.71 %" in answer.stdout
        assert "standard deviation over seeds" in answer.stdout
        assert "best: steps=2, seed=1 (member 3, experiment" in answer.stdout
        assert "validation accuracy 93.00 %, test accuracy 80.00 %, test loss NaN" in answer.stdout
        assert "400/400  4 members: 4 succeeded" in answer.stderr

    def test_members_judged_differently_have_no_best(self, bilevel: Any, spec: str, worker: Any) -> None:
        worker()
        shown = bilevel("sweep", spec, "--grid", "damping=0.25,0.5", "--seeds", "0", "--wait").stdout
        assert "no best: members were chosen by different metrics or judged on different data" in " ".join(
            shown.split()
        )
        assert "best: damping" not in shown

    def test_labels_are_given_to_the_sweep_and_its_members(self, bilevel: Any, spec: str) -> None:
        arguments = ("sweep", spec, "--grid", "steps=1,2", "--label", "paper:ours", "--label", "who:me", "--json")
        record = json.loads(bilevel(*arguments).stdout)
        assert record["labels"] == {"paper": "ours", "who": "me"}
        assert len(json.loads(bilevel("list", "--label", "paper:ours", "--json").stdout)) == 2
        assert record["id"][:8] in bilevel("sweeps", "list", "--label", "who:me").stdout
        assert "NAME:VALUE" in bilevel("sweep", spec, "--label", "paper", status=2).stderr

    def test_a_failure_is_exit_status_1(self, bilevel: Any, spec: str, worker: Any) -> None:
        worker(failing=2)
        answer = bilevel("sweep", spec, "--grid", "steps=1,2", "--seeds", "0,1", "--wait", "--json", status=1)
        assert answer.stderr == ""
        record = json.loads(answer.stdout)
        assert (record["counts"]["failed"], record["best"]["member"]) == (1, 3)
        members = bilevel("sweeps", "members", record["id"]).stdout
        assert "diverged" in members
        assert "validation accuracy" in members
        assert "93.00 %" in members
        assert "1 failed" in bilevel("sweeps", "watch", record["id"], status=1).stderr
        assert "1 member submitted again" in bilevel("sweeps", "retry", record["id"]).stdout
        assert "3 succeeded, 1 cancelled" in bilevel("sweeps", "cancel", record["id"]).stdout
        assert json.loads(bilevel("sweeps", "retry", record["id"], "--json").stdout)["retried"] == 1
        assert json.loads(bilevel("sweeps", "cancel", record["id"], "--json").stdout)["counts"]["cancelled"] == 1

    def test_the_terminal_shows_a_bar(
        self, bilevel: Any, spec: str, worker: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "140")
        worker()
        shown = bilevel("sweep", spec, "--seeds", "0..3", "--wait", "--name", "toy [/x]").stderr
        assert "━" in shown
        assert "400/400" in shown
        assert "toy [/x]" in shown

    def test_a_narrow_terminal_keeps_what_says_which_member_it_is(
        self, bilevel: Any, spec: str, worker: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        worker()
        arguments = ("--grid", "problem.damping=0.25,0.5", "--seeds", "0,1", "--wait", "--json")
        record = json.loads(bilevel("sweep", spec, *arguments).stdout)
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "80")
        shown = re.sub(r"\x1b\[[\d;]*m", "", bilevel("sweeps", "members", record["id"]).stdout)
        assert re.search(r"member +id +damping +seed +status", shown)
        assert re.search(r"3 +[0-9a-f]{8} +0\.5 +1 +succeeded +93\.00 %", shown)
        assert "left out (trial, progress" in shown

    def test_the_best_cell_is_shown_where_there_are_several(
        self, bilevel: Any, client: Client, spec: str, worker: Any
    ) -> None:
        worker()
        shown = bilevel("sweep", spec, "--grid", "steps=1,2", "--seeds", "0,1", "--wait").stdout
        assert "best cell: steps=2 (2 seeds): validation accuracy 92.50 ± 0.71 %, test accuracy 80.00" in shown

    def test_a_picture_of_a_sweep(self, bilevel: Any, spec: str, worker: Any, tmp_path: Path, client: Client) -> None:
        picture = str(tmp_path / "sweep.png")
        worker(failing=1)
        arguments = ("--grid", "steps=1,2", "--seeds", "0,1", "--wait", "--json")
        sweep_id = json.loads(bilevel("sweep", spec, *arguments, status=1).stdout)["id"]
        told = json.loads(bilevel("sweeps", "plot", sweep_id, "--out", picture, "--json").stdout)
        assert told == {"file": picture}
        assert Path(picture).read_bytes().startswith(b"\x89PNG")
        nothing = bilevel("sweeps", "plot", sweep_id, "--series", "x", "--out", picture, status=2).stderr
        assert "No member has the series x: there are outer_objective" in nothing
        unwritten = bilevel("sweeps", "plot", sweep_id, "--out", str(tmp_path / "no" / "x.svg"), status=2).stderr
        assert "cannot be written" in unwritten
        assert "does not end in" in bilevel("sweeps", "plot", sweep_id, "--out", "x.gif", status=2).stderr

    def test_there_is_nothing_to_draw_before_one_has_succeeded(self, bilevel: Any, spec: str, tmp_path: Path) -> None:
        sweep_id = bilevel("sweep", spec, "--seeds", "0,1").stdout.strip()
        refused = bilevel("sweeps", "plot", sweep_id, "--out", str(tmp_path / "x.png"), status=2).stderr
        assert "No member has succeeded" in refused

    def test_a_single_cell_is_not_the_best(self, bilevel: Any, spec: str, worker: Any) -> None:
        worker()
        shown = bilevel("sweep", spec, "--seeds", "0,1", "--wait").stdout
        assert "best: seed=1" in shown
        assert "best cell" not in shown

    def test_list(self, bilevel: Any, spec: str) -> None:
        assert "No sweeps." in bilevel("sweeps", "list").stdout
        sweep_id = bilevel("sweep", spec, "--seeds", "0..3", "--name", "of seeds").stdout.strip()
        shown = bilevel("sweeps", "list", "--name", "seeds").stdout
        for part in (sweep_id[:8], "of seeds", "4 queued", "0.00 %", "just now"):
            assert part in shown
        assert "No sweeps." in bilevel("sweeps", "list", "--label", "a:b").stdout
        bilevel("sweeps", "list", "--label", "ab", status=2)
        assert "members" in bilevel("sweeps", "--help").stdout
        assert "no sweep whose id begins" in bilevel("sweeps", "show", "f" * 30, status=2).stderr


class TestNumbersOfResults:
    COLUMNS = "report.f1,timing.total_seconds, diagnostics.solver_residual.worst"

    @pytest.fixture
    def sweep(self, client: Client, slot: Any) -> str:
        """Four members of two cells, of which the last is not run."""
        sweep_id = str(
            client.sweep({**SWEEP, "grid": {"hypergradient": [{"kind": "reverse"}, {"kind": "exact"}]}})["id"]
        )
        for number, member in enumerate(client.sweep_members(sweep_id)[:3]):
            more = {"report": {"f1": number / 4}, "timing": {"total_seconds": 1234.5}}
            more |= {"diagnostics": {"solver_residual": {"worst": "Infinity"}}} if number == 2 else {}
            attempt = slot.start(member["experiment_id"])
            slot.succeed(member["experiment_id"], attempt, result(0.9 + number / 100, 0.8) | more)
        return sweep_id

    def test_columns_of_tables(self, bilevel: Any, sweep: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "300")
        cells = re.split(r"\n", bilevel("sweeps", "show", sweep, "--columns", self.COLUMNS).stdout)
        heading = next(line for line in cells if "report.f1" in line)
        assert heading.split()[-3:] == ["report.f1", "timing.total_seconds", "diagnostics.solver_residual.worst"]
        assert re.search(r"reverse .* 0\.125 ± 0\.18 +1234 ± 0$", "\n".join(map(str.rstrip, cells)), re.MULTILINE)
        assert re.search(r"exact .* 0\.5 +1234 +∞$", "\n".join(map(str.rstrip, cells)), re.MULTILINE)
        members = bilevel("sweeps", "members", sweep, "--columns", self.COLUMNS).stdout
        assert "diagnostics.solver_residual.worst" in members
        assert re.search(r"succeeded .* 0\.25 +1234 *$", members, re.MULTILINE)
        told = json.loads(bilevel("sweeps", "members", sweep, "--columns", "report.f1", "--json").stdout)
        assert [each["values"] for each in told] == [{"report.f1": 0.0}, {"report.f1": 0.25}, {"report.f1": 0.5}, {}]

    def test_columns_are_in_the_order_asked_for_whatever_the_first_cell_has(
        self, bilevel: Any, sweep: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "300")
        paths = ["diagnostics.solver_residual.worst", "report.f1"]
        shown = bilevel("sweeps", "show", sweep, "--columns", ",".join(paths)).stdout
        heading = next(line for line in shown.splitlines() if "report.f1" in line)
        assert heading.split()[-2:] == paths
        header = bilevel("sweeps", "members", sweep, "--csv", "--columns", ",".join(paths)).stdout.splitlines()[0]
        assert header.split(",")[-2:] == paths

    def test_a_path_that_no_member_has(self, bilevel: Any, sweep: str) -> None:
        for command in ("show", "members"):
            refused = bilevel("sweeps", command, sweep, "--columns", "report.f1,report.f2", status=2).stderr
            assert "no member has a number at `report.f2`: there are `report.f1`" in refused

    def test_cells_as_csv(self, bilevel: Any, sweep: str) -> None:
        text = bilevel("sweeps", "show", sweep, "--csv", "--columns", self.COLUMNS).stdout
        first, second = csv.DictReader(text.splitlines())
        assert first["algorithm.hypergradient"] == '{"kind": "reverse"}'
        assert (first["seeds"], first["succeeded"], second["succeeded"]) == ("2", "2", "1")
        assert float(first["validation.mean"]) == pytest.approx(0.905)
        assert float(first["validation.deviation"]) == pytest.approx(0.005 * 2**0.5)
        assert (first["test.accuracy.mean"], first["test.loss.mean"]) == ("0.8", "NaN")
        assert (first["report.f1.mean"], second["report.f1.mean"]) == ("0.125", "0.5")
        assert (second["report.f1.deviation"], first["diagnostics.solver_residual.worst.mean"]) == ("", "")
        assert second["diagnostics.solver_residual.worst.mean"] == "Infinity"

    def test_members_as_csv(self, bilevel: Any, client: Client, sweep: str) -> None:
        lines = list(
            csv.DictReader(bilevel("sweeps", "members", sweep, "--csv", "--columns", "report.f1").stdout.splitlines())
        )
        assert [line["experiment_id"] for line in lines] == [
            member["experiment_id"] for member in client.sweep_members(sweep)
        ]
        assert [line["seed"] for line in lines] == ["0", "1", "0", "1"]
        assert [line["status"] for line in lines] == ["succeeded"] * 3 + ["queued"]
        assert [line["validation"] for line in lines] == ["0.9", "0.91", "0.92", ""]
        assert [line["report.f1"] for line in lines] == ["0.0", "0.25", "0.5", ""]
        assert lines[0]["test.loss"] == "NaN"

    def test_one_format(self, bilevel: Any, sweep: str) -> None:
        for command in ("show", "members"):
            assert "exclude each other" in bilevel("sweeps", command, sweep, "--csv", "--json", status=2).stderr


def test_ctrl_c_says_that_the_sweep_goes_on(
    bilevel: Any, client: Client, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bilevel_client.commands.following_sweep.time.sleep", _interrupt)
    ended = bilevel("sweep", spec, "--seeds", "0..1", "--wait", status=130)
    (sweep,) = client.sweeps()
    assert sweep["counts"]["queued"] == 2
    assert "what was submitted goes on" in ended.stderr
    assert f"`bilevel sweeps watch {sweep['id']}`" in ended.stderr
    bilevel("sweeps", "watch", sweep["id"], status=130)


def test_a_line_of_progress_names_the_sweep(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = client.sweep(SWEEP)
    client.cancel_sweep(sweep["id"])
    follow_sweep(client, sweep["id"])
    assert capsys.readouterr().err.startswith(f"{sweep['id'][:8]}  a sweep  0/")


def _interrupt(seconds: float) -> None:
    raise KeyboardInterrupt

    def test_a_narrow_terminal_shows_all_states(
        self, bilevel: Any, spec: str, worker: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "50")
        worker(failing=2)
        shown = bilevel("sweep", spec, "--seeds", "0..3", "--wait", "--name", "a long name of a sweep", status=1).stderr
        plain = re.sub(r"\x1b\[[0-9;?]*\w", "", shown)
        assert all(state in plain for state in ("3", "succeeded", "1 failed"))
        assert "…" not in plain.split("━")[-1]
