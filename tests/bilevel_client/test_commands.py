"""The `bilevel` command against a real server: what it prints and how it ends."""

import csv
import json
import math
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bilevel_client import Client
from bilevel_client.commands import main, plotting
from bilevel_client.transport import Transport
from core.store import finishing
from core.store.blobs import Blobs

RESULT: dict[str, Any] = {
    "best": {"hyperiteration": 40, "validation": {"accuracy": {"mean": 0.9575, "ci95": 0.0198, "examples": 400}}},
    "final": {
        "hyperiteration": 100,
        "validation": {"accuracy": {"mean": 0.95, "ci95": 0.02, "examples": 400}},
        "test": {"accuracy": {"mean": 0.94, "ci95": 0.02, "examples": 597}},
    },
    "test": {"accuracy": {"mean": 0.9665, "ci95": 0.0144, "examples": 597}, "loss": {"mean": "NaN", "ci95": None}},
    "report": {
        "baseline": {"accuracy": {"mean": 0.7353, "ci95": 0.03}},
        "f1": 0.9512,
        "corrupted": 400,
        "deep": {"a": 1.5},
    },
    "timing": {"total_seconds": 72.0, "seconds_per_hyperiteration": 0.4},
    "memory": {"peak_mb": 356.0},
    "environment": {"device": "cpu", "device_name": "a processor", "torch": "2.13.0"},
}
SPEC = {"name": "flipped labels", "labels": {"paper": "table-3"}, "problem": {"kind": "quadratic"}}


@pytest.fixture
def spec(tmp_path: Path) -> str:
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(SPEC))
    return str(file)


@pytest.fixture
def worker(slot: Any, address: str) -> Any:
    """Runs one experiment in the background as soon as it is there."""
    threads = []

    def run(ending: str = "succeeded") -> None:
        with Client(address) as client:
            while not (found := list(client.list(status="queued"))):
                time.sleep(0.05)
        experiment_id = found[0]["id"]
        attempt = slot.start(experiment_id)
        for step in range(0, 100, 20):
            values = {k: 1.0 / (k + 1) for k in range(step, step + 20)}
            slot.write(experiment_id, attempt, {"outer_objective": values, "validation/accuracy": {step: 0.9}})
            time.sleep(0.05)
        if ending == "succeeded":
            slot.succeed(experiment_id, attempt, RESULT)
        else:
            slot.fail(experiment_id, attempt, finishing.Failure("user", "diverged", "Lower the rate."))

    def start(ending: str = "succeeded") -> None:
        threads.append(threading.Thread(target=run, args=[ending]))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(20)


def test_submit_prints_the_id(bilevel: Any, spec: str) -> None:
    experiment_id = bilevel("submit", spec).stdout.strip()
    assert json.loads(bilevel("show", experiment_id[:8], "--json").stdout)["id"] == experiment_id


def test_submit_with_values_set_and_json(bilevel: Any, spec: str) -> None:
    answer = bilevel("submit", spec, "--set", "algorithm.steps=7", "--set", "labels.run=a=b", "--json")
    record = json.loads(answer.stdout)
    assert record["spec"]["algorithm"]["steps"] == 7
    assert record["labels"] == {"paper": "table-3", "run": "a=b"}


def test_submit_with_a_key_twice_is_one(bilevel: Any, spec: str) -> None:
    assert bilevel("submit", spec, "--key", "k").stdout == bilevel("submit", spec, "--key", "k").stdout


def test_submit_from_standard_input(bilevel: Any) -> None:
    answer = bilevel("submit", "-", "--json", stdin="problem: {kind: quadratic, damping: 1e-2}\n")
    assert json.loads(answer.stdout)["spec"]["problem"]["damping"] == 0.01


def test_resubmit_is_the_same_spec_as_a_new_experiment(bilevel: Any, spec: str, slot: Any) -> None:
    first = json.loads(bilevel("submit", spec, "--json").stdout)
    slot.fail(first["id"], slot.start(first["id"]), finishing.Failure("user", "diverged", "Lower the rate."))
    second = json.loads(bilevel("show", bilevel("resubmit", first["id"][:8]).stdout.strip(), "--json").stdout)
    assert second["id"] != first["id"]
    assert (second["status"], second["spec_sha256"]) == ("queued", first["spec_sha256"])
    assert (second["name"], second["labels"]) == (first["name"], first["labels"])


def test_resubmit_with_values_set(bilevel: Any, spec: str) -> None:
    first = json.loads(bilevel("submit", spec, "--json").stdout)
    changes = ("--set", "algorithm.steps=7", "--set", "labels.run=2")
    second = json.loads(bilevel("resubmit", first["id"], *changes, "--json").stdout)
    assert second["spec"]["algorithm"] == first["spec"]["algorithm"] | {"steps": 7}
    assert second["labels"] == {"paper": "table-3", "run": "2"}
    assert "field.field=value" in bilevel("resubmit", first["id"], "--set", "algorithm", status=2).stderr
    assert "`stps` is not known" in bilevel("resubmit", first["id"], "--set", "algorithm.stps=7", status=2).stderr
    assert "no experiment" in bilevel("resubmit", "f" * 30, status=2).stderr


def test_resubmit_and_wait_ends_with_the_result(bilevel: Any, spec: str, worker: Any) -> None:
    first = bilevel("submit", spec).stdout.strip()
    bilevel("cancel", first)
    worker()
    answer = bilevel("resubmit", first, "--wait")
    assert "Submitted flipped labels as" in answer.stderr
    assert "95.75 ± 1.98 %" in answer.stdout


def test_submit_and_wait_ends_with_the_result(bilevel: Any, spec: str, worker: Any) -> None:
    worker()
    answer = bilevel("submit", spec, "--wait")
    assert "95.75 ± 1.98 %" in answer.stdout
    assert "96.65 ± 1.44 %" in answer.stdout
    assert "73.53 ± 3.00 %" in answer.stdout
    assert "0.9512" in answer.stdout
    assert "72 s, 0.4 s a hyperiteration, 356 MB, on a processor, torch 2.13.0" in answer.stdout
    assert "succeeded" in answer.stderr
    assert "outer objective" in answer.stderr


def test_submit_and_wait_in_json(bilevel: Any, spec: str, worker: Any) -> None:
    worker()
    answer = bilevel("submit", spec, "--wait", "--json")
    record = json.loads(answer.stdout)
    assert record["status"] == "succeeded"
    assert record["result"] == RESULT
    assert answer.stderr == ""


def test_a_failure_is_exit_status_1(bilevel: Any, spec: str, worker: Any) -> None:
    worker("failed")
    answer = bilevel("submit", spec, "--wait", status=1)
    assert "Lower the rate." in answer.stdout
    experiment_id = json.loads(bilevel("list", "--json").stdout)[0]["id"]
    assert "Lower the rate." in bilevel("watch", experiment_id, status=1).stdout
    assert "has failed" in bilevel("result", experiment_id, status=1).stderr
    assert json.loads(bilevel("watch", experiment_id, "--json", status=1).stdout)["result"] is None


def test_watch_several(bilevel: Any, spec: str, worker: Any) -> None:
    first = bilevel("submit", spec).stdout.strip()
    bilevel("cancel", first)
    worker()
    second = bilevel("submit", spec).stdout.strip()
    answers = json.loads(bilevel("watch", first, second, "--json", status=1).stdout)
    assert [answer["status"] for answer in answers] == ["cancelled", "succeeded"]


def test_the_terminal_shows_bars(bilevel: Any, spec: str, worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "140")
    worker()
    shown = bilevel("submit", spec, "--wait").stderr
    assert "━" in shown
    assert "100/100" in shown
    assert "validation accuracy 90.00 %" in shown


@pytest.mark.parametrize("terminal", [False, True])
def test_warnings_are_shown_once(
    terminal: bool, bilevel: Any, spec: str, slot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "140")
    seen = {"last": 0.3, "worst": 0.4, "worst_hyperiteration": 7, "warnings": 1}
    quiet = seen | {"warnings": 0}
    experiment_id = bilevel("submit", spec).stdout.strip()
    attempt = slot.start(experiment_id)
    warning = {"hyperiteration": 7, "message": "T too short: relative truncation error 0.4"}
    slot.write(experiment_id, attempt, {"outer_objective": {7: 1.0}}, ("warning", warning))
    diagnostics = {"truncation_error": seen, "contraction_factor": quiet}
    contracts = {"name": "uniform convergence", "status": "not met on measurement", "reason": "The factor was 1.3."}
    slot.succeed(experiment_id, attempt, RESULT | {"diagnostics": diagnostics, "assumptions": [contracts]})
    found = bilevel("watch", experiment_id)
    expected = f"{experiment_id[:8]}  warning at hyperiteration 7: T too short: relative truncation error 0.4"
    assert found.stderr.count(expected) == 1
    assert "1 warning about truncation_error: last 0.3, worst 0.4 at hyperiteration 7" in found.stdout
    assert "contraction_factor" not in found.stdout
    (line,) = [line for line in bilevel("result", experiment_id).stdout.splitlines() if "uniform convergence" in line]
    for shown in contracts.values():
        assert shown in line


def test_list(bilevel: Any, spec: str) -> None:
    assert bilevel("list").stdout == "No experiments.\n"
    ids = [bilevel("submit", spec).stdout.strip() for _ in range(3)]
    bilevel("cancel", ids[0])
    table = bilevel("list").stdout
    for shown in (
        ids[0][:8],
        "flipped labels",
        "paper:table-3",
        "quadratic",
        "queued",
        "cancelled",
        "0/100",
        "just now",
    ):
        assert shown in table
    assert ids[1][:8] not in bilevel("list", "--status", "cancelled").stdout
    assert len(json.loads(bilevel("list", "-n", "2", "--json").stdout)) == 2
    assert len(json.loads(bilevel("list", "--label", "paper:table-3", "--json").stdout)) == 3
    bilevel("list", "--label", "paper", status=2)
    bilevel("list", "--kind", "quadratc", status=2)


def test_show(bilevel: Any, spec: str) -> None:
    experiment_id = bilevel("submit", spec).stdout.strip()
    shown = bilevel("show", experiment_id).stdout
    for part in (experiment_id, "flipped labels", "queued", '"kind": "quadratic"', "paper:table-3"):
        assert part in shown


def test_what_a_queued_experiment_waits_for_is_shown(bilevel: Any, spec: str) -> None:
    experiment_id = bilevel("submit", spec, "--set", "resources.device=cuda").stdout.strip()
    for shown in (bilevel("show", experiment_id).stdout, bilevel("list").stdout):
        assert "0/100, waits for a free slot with a CUDA device" in shown


def test_a_loss_is_shown_with_the_time_of_the_next_attempt(
    bilevel: Any, spec: str, slot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment_id = bilevel("submit", spec).stdout.strip()
    died = finishing.Failure("infrastructure", "child_died", "Ended by signal 9.")
    slot.lose(experiment_id, slot.start(experiment_id), died, backoff=300)
    shown = " ".join(bilevel("show", experiment_id).stdout.split())
    assert "lost Ended by signal 9. (infrastructure: child_died, attempt 1)" in shown
    assert re.search(r"tried again 20\S+Z \(in [45] min \d\d s\)", shown)
    assert "0/100, lost (child_died), tried again in " in bilevel("list").stdout
    monkeypatch.setattr("bilevel_client.commands.following._look", _interrupt)
    assert "queued  0/100  lost (child_died), tried again in " in bilevel("watch", experiment_id, status=130).stderr


def test_an_experiment_that_makes_its_report_is_said_to_be_evaluated(bilevel: Any, spec: str, slot: Any) -> None:
    experiment_id = bilevel("submit", spec).stdout.strip()
    slot.write(experiment_id, slot.start(experiment_id), {"seconds": dict.fromkeys(range(101), 0.5)})
    for shown in (bilevel("show", experiment_id).stdout, bilevel("list").stdout):
        assert "100/100, evaluating" in shown
        assert "to go" not in shown


def test_cancel(bilevel: Any, spec: str, slot: Any) -> None:
    experiment_id = bilevel("submit", spec).stdout.strip()
    slot.start(experiment_id)
    assert f"{experiment_id} is cancelling." in bilevel("cancel", experiment_id[:8]).stdout
    assert json.loads(bilevel("cancel", experiment_id, "--json").stdout)["status"] == "cancelling"


def test_short_lists_of_a_report_are_shown(bilevel: Any, spec: str, slot: Any) -> None:
    experiment_id = bilevel("submit", spec).stdout.strip()
    report = {
        "y": [1, 2],
        "outer": {"lam": [0.123456, "NaN"]},
        "curve": list(range(777, 800)),
        "grid": [[0.77]],
        "a": [{}],
    }
    found = {"best": {"hyperiteration": 1}, "final": {"hyperiteration": 1}, "report": report}
    slot.succeed(experiment_id, slot.start(experiment_id), found)
    shown = bilevel("result", experiment_id).stdout
    assert re.search(r"^y +\[1, 2\] *$", shown, re.MULTILINE)
    assert re.search(r"^outer/lam +\[0\.1235, NaN\] *$", shown, re.MULTILINE)
    assert not re.search(r"77|grid|curve|^a ", shown, re.MULTILINE)


def test_refusals_of_what_is_not_there_name_the_field(bilevel: Any, tmp_path: Path) -> None:
    file = tmp_path / "cleaning.json"
    file.write_text(json.dumps({"problem": {"kind": "hyper_cleaning", "dataset": {"kind": "mnist"}}}))
    refused = bilevel("submit", str(file), status=2).stderr
    assert "Error: /problem/dataset: The data set mnist is not there" in refused


def test_result_before_the_end(bilevel: Any, spec: str) -> None:
    experiment_id = bilevel("submit", spec).stdout.strip()
    assert "queued" in bilevel("result", experiment_id, status=2).stderr


@pytest.fixture
def drawn(bilevel: Any, spec: str, slot: Any) -> str:
    """Id of an experiment with curves of every sort, made by two attempts, with a value that is not finite."""
    experiment_id = str(bilevel("submit", spec).stdout.strip())
    attempt = slot.start(experiment_id)
    falling = {k: math.exp(-k / 10) for k in range(60)}
    names = ("outer_objective", "inner_objective_start", "inner_objective_end", "hypergradient_norm", "seconds", "mine")
    slot.write(experiment_id, attempt, dict.fromkeys(names, falling))
    slot.release(experiment_id, attempt)
    attempt = slot.start(experiment_id)
    accuracy = {0: 0.1, 50: 0.95}
    outer = {f"outer/strength/{i}": {k: (i + 1) * value for k, value in falling.items()} for i in range(12)}
    outer |= {"outer/weight_clean": falling, "outer/weight_corrupted": falling}
    metrics = {"validation/accuracy": accuracy, "test/accuracy": accuracy, "validation/loss": {0: 1.0, 50: math.nan}}
    slot.write(experiment_id, attempt, {"outer_objective": {k: falling[k] for k in range(40, 60)}, **outer, **metrics})
    return experiment_id


def test_curves_as_a_table(bilevel: Any, drawn: str) -> None:
    table = bilevel("curves", drawn, "--series", "validation/*", "--series", "outer_objective").stdout
    assert "validation/accuracy" in table
    assert "95.00 %" in table
    assert "▁" in table
    assert "NaN" in table
    assert "hypergradient_norm" not in table
    nothing = bilevel("curves", drawn, "--series", "nothing", status=2).output
    assert "has no series nothing: there are" in " ".join(nothing.split())
    assert "validation/accuracy" in nothing


def test_series_are_in_the_order_of_their_numbers(
    bilevel: Any, drawn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [f"outer/strength/{i}" for i in range(12)]
    table = bilevel("curves", drawn).stdout
    assert [word for word in table.split() if word.startswith("outer/strength/")] == wanted
    answer = json.loads(bilevel("curves", drawn, "--json").stdout)
    assert [name for name in answer["series"] if name in wanted] == wanted
    nothing = bilevel("curves", drawn, "--series", "nothing", status=2).output
    assert [word.strip(",") for word in nothing.split() if word.startswith("outer/strength/")] == wanted

    panels: list[Any] = []
    monkeypatch.setattr(plotting, "_draw_panel", lambda axes, panel, drawn: panels.append(panel))
    bilevel("curves", drawn, "--plot", str(tmp_path / "x.svg"))
    assert [panel.series for panel in panels if panel.title == "Strength"] == [tuple(wanted)]


def test_curves_in_json(bilevel: Any, drawn: str) -> None:
    answer = json.loads(bilevel("curves", drawn, "--json").stdout)
    assert answer["series"]["validation/loss"] == {"step": [0, 50], "value": [1.0, "NaN"], "attempt": [2, 2]}
    assert set(answer["series"]["outer_objective"]["attempt"]) == {1, 2}


def test_curves_in_csv(bilevel: Any, drawn: str, spec: str, slot: Any, tmp_path: Path) -> None:
    other = bilevel("submit", spec).stdout.strip()
    slot.write(other, slot.start(other), {"outer_objective": dict.fromkeys(range(9), 0.5), "validation/x": {0: 1.0}})
    lines = bilevel("curves", drawn, other, "--series", "outer_*", "--series", "validation/loss", "--csv").stdout
    points = list(csv.DictReader(lines.splitlines()))
    assert list(points[0]) == ["experiment", "series", "step", "value", "attempt"]
    assert [each["step"] for each in points if each["experiment"] == other] == [str(step) for step in range(9)]
    assert len([each for each in points if each["series"] == "outer_objective"]) == 60 + 9, "every point"
    assert {"experiment": drawn, "series": "validation/loss", "step": "50", "value": "NaN", "attempt": "2"} in points
    assert "has no series nothing" in bilevel("curves", drawn, "--series", "nothing", "--csv", status=2).stderr
    for more in (("--json",), ("--plot", str(tmp_path / "x.png"))):
        assert "exclude each other" in bilevel("curves", drawn, "--csv", *more, status=2).stderr


@pytest.mark.parametrize("suffix", ["png", "svg", "PNG"])
def test_curves_as_a_picture(bilevel: Any, drawn: str, tmp_path: Path, suffix: str) -> None:
    picture = tmp_path / f"curves.{suffix}"
    bilevel("curves", drawn, "--plot", str(picture))
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG" if suffix.lower() == "png" else b"<?xml")
    assert len(content) > 20_000


def test_a_picture_that_compares(bilevel: Any, drawn: str, spec: str, slot: Any, tmp_path: Path) -> None:
    other = bilevel("submit", spec).stdout.strip()
    slot.write(other, slot.start(other), {"outer_objective": {0: 1.0, 1: 0.5}, "validation/accuracy": {0: 0.5}})
    picture = tmp_path / "both.svg"
    answer = bilevel("curves", drawn, other, "--plot", str(picture), "--json")
    assert json.loads(answer.stdout) == {"file": str(picture)}
    assert set(json.loads(bilevel("curves", drawn, other, "--json").stdout)) == {drawn, other}


def test_pictures_that_cannot_be(bilevel: Any, drawn: str, spec: str, tmp_path: Path) -> None:
    for name in ("x.gif", "x.jpg", "x"):
        refused = " ".join(bilevel("curves", drawn, "--plot", str(tmp_path / name), status=2).stderr.split())
        assert "Invalid value for '--plot'" in refused
        assert "does not end in .png, .svg or .pdf" in refused
        assert not (tmp_path / name).exists()
    assert "cannot be written" in bilevel("curves", drawn, "--plot", str(tmp_path / "no" / "x.png"), status=2).stderr
    empty = bilevel("submit", spec).stdout.strip()
    assert "no points" in bilevel("curves", empty, "--plot", str(tmp_path / "x.png"), status=2).stderr


def test_artifacts(bilevel: Any, spec: str, slot: Any, storage_dir: Path, tmp_path: Path) -> None:
    experiment_id = bilevel("submit", spec).stdout.strip()
    assert bilevel("artifact", experiment_id).stdout == "No artifacts.\n"
    artifact = finishing.StoredArtifact("application/octet-stream", Blobs(storage_dir).put(b"tensors"))
    slot.succeed(experiment_id, slot.start(experiment_id), RESULT, **{"a.safetensors": artifact})
    assert "a.safetensors  7 bytes" in bilevel("artifact", experiment_id).stdout
    assert json.loads(bilevel("artifact", experiment_id, "--json").stdout)[0]["size"] == 7
    target = tmp_path / "fetched"
    bilevel("artifact", experiment_id, "a.safetensors", "--to", str(target))
    assert target.read_bytes() == b"tensors"
    assert "`a.safetensors`" in bilevel("artifact", experiment_id, "b", status=2).stderr
    target.write_bytes(b"mine")
    refused = bilevel("artifact", experiment_id, "a.safetensors", "--to", str(target), status=2).stderr
    assert "is there already: name another file by --to, or give --force." in " ".join(refused.split())
    assert target.read_bytes() == b"mine"
    bilevel("artifact", experiment_id, "a.safetensors", "--to", str(target), "--force")
    assert target.read_bytes() == b"tensors"


def test_an_artifact_of_a_name_that_is_taken_is_not_overwritten(
    bilevel: Any, spec: str, slot: Any, storage_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment_id = bilevel("submit", spec).stdout.strip()
    artifact = finishing.StoredArtifact("application/octet-stream", Blobs(storage_dir).put(b"tensors"))
    slot.succeed(experiment_id, slot.start(experiment_id), RESULT, **{"a.safetensors": artifact})
    monkeypatch.chdir(tmp_path)
    bilevel("artifact", experiment_id, "a.safetensors")
    Path("a.safetensors").write_bytes(b"mine")
    assert "--force" in bilevel("artifact", experiment_id, "a.safetensors", status=2).stderr
    assert Path("a.safetensors").read_bytes() == b"mine"


def test_catalogue(bilevel: Any) -> None:
    assert "hyper_cleaning" in bilevel("catalog").stdout
    assert json.loads(bilevel("catalog", "quadratic", "--json").stdout)["example"]["kind"] == "quadratic"
    fields = " ".join(bilevel("catalog", "clipped").stdout.split())
    assert "clipped (weights)" in fields
    assert "radius above 0 to 1e+07; optional Largest sum of the weights" in fields
    fields = " ".join(bilevel("catalog", "resources").stdout.split())
    assert "resources (parts of an experiment)" in fields
    assert "priority from -100 to 100; default 0 Higher goes first" in fields
    assert "time_limit above 0 to 3e+06; optional Seconds" in fields
    assert "every from 1 to 1e+07; optional" in " ".join(bilevel("catalog", "evaluation").stdout.split())
    assert "name text; default untitled" in " ".join(bilevel("catalog", "experiment").stdout.split())
    assert "double | half; default double" in bilevel("catalog", "diagnostics.truncation").stdout
    assert "evaluation" in bilevel("catalog").stdout
    assert "kinds" in json.loads(bilevel("catalog", "--json").stdout)
    assert "did you mean hyper_cleaning" in " ".join(bilevel("catalog", "hyper_cleanin", status=2).output.split())


def test_refusals_are_exit_status_2(bilevel: Any, spec: str, tmp_path: Path) -> None:
    answer = bilevel("submit", spec, "--set", "problem.damp=1", status=2)
    assert "/problem/damp: `damp` is not known here (did you mean `damping`?)" in answer.stderr
    answer = bilevel("submit", spec, "--set", "problem.damp=1", "--set", "seed=-1", status=2)
    assert "/problem/damp" in answer.stderr
    assert "/seed" in answer.stderr
    problem = json.loads(bilevel("submit", spec, "--set", "seed=-1", "--json", status=2).stderr)
    assert problem["errors"][0]["pointer"] == "/seed"
    bilevel("submit", str(tmp_path / "nothing"), status=2)
    bilevel("submit", spec, "--set", "nonsense", status=2)
    bilevel("show", "6f0c1f6e-0000-4000-8000-000000000000", status=2)
    bilevel("show", "00000000", status=2)
    wrong = "Error: ID `zzz`: give the id of the experiment or its first digits, which are 0 to 9 and a to f."
    for arguments in (("show", "zzz"), ("curves", "zzz"), ("resubmit", "zzz")):
        assert bilevel(*arguments, status=2).stderr.strip() == wrong
    assert "ID `zzz`: give the id of the sweep" in bilevel("sweeps", "show", "zzz", status=2).stderr
    bilevel("nonsense", status=2)


def test_no_service_is_exit_status_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bilevel_client.commands.service.QUICK", 0.2)
    result = CliRunner().invoke(main, ["list", "--url", "http://127.0.0.1:1"])
    assert result.exit_code == 3
    assert "bilevel up" in result.stderr


def test_ctrl_c_is_exit_status_130_and_the_experiment_goes_on(
    bilevel: Any, address: str, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("bilevel_client.commands.following._look", _interrupt)
        ended = bilevel("submit", spec, "--wait", status=130)
    with Client(address) as client:
        (record,) = client.list()
    assert record["status"] == "queued"
    assert f"`bilevel watch {record['id']}`" in ended.stderr
    monkeypatch.setattr("bilevel_client.client.Client.list", _interrupt)
    assert bilevel("list", status=130).stderr == "Interrupted.\n"


def test_a_service_that_goes_away_is_exit_status_3_and_says_how_to_go_on(
    bilevel: Any, address: str, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(self: Transport, method: str, path: str, **options: Any) -> Any:
        if "wait" in options:  # a look at an experiment that was submitted before
            self._http.base_url = "http://127.0.0.1:1"
        return send(self, method, path, **options)

    send = Transport.send
    monkeypatch.setattr(Transport, "send", gone)
    monkeypatch.setattr("bilevel_client.commands.experiments.PATIENT", 0.2)
    ended = bilevel("submit", spec, "--wait", status=3)
    with Client(address) as client:
        (record,) = client.list()
    assert "No answer from http://127.0.0.1:1" in ended.stderr
    assert f"`bilevel watch {record['id']}` shows it again" in ended.stderr


def test_an_address_without_a_scheme_is_exit_status_2() -> None:
    result = CliRunner().invoke(main, ["list", "--url", "localhost:8000"])
    assert result.exit_code == 2
    assert "begin it with http://" in result.stderr


def test_help_says_what_the_statuses_mean_and_is_quick() -> None:
    program = """
import sys
from bilevel_client.commands import main
try:
    main(["--help"])
except SystemExit:
    heavy = {"httpx", "rich", "matplotlib", "yaml", "torch", "numpy", "core", "local", "api"} & set(sys.modules)
    assert not heavy, heavy
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "1  the experiment failed or was cancelled" in ran.stdout
    assert "130  interrupted (Ctrl-C)" in ran.stdout
    for name in (
        "up",
        "submit",
        "resubmit",
        "list",
        "show",
        "watch",
        "cancel",
        "curves",
        "result",
        "artifact",
        "catalog",
        "data",
    ):
        assert f"\n  {name} " in ran.stdout


@pytest.mark.parametrize(("command", "shown"), [("up", "Postgres, Redis"), ("data", "prepare")])
def test_up_and_data_hand_over_to_the_service(command: str, shown: str, tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()  # a folder of that name in the current directory is not taken for the package
    program = "from bilevel_client.commands import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", program, command, "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert shown in ran.stdout


def _interrupt(*arguments: Any, **options: Any) -> None:
    raise KeyboardInterrupt
