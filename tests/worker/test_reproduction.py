"""A small study on a real service: interrupted, it goes on where it was, and submits nothing twice."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bilevel_client import Client
from bilevel_client.commands.following_sweep import follow_sweep
from bilevel_client.commands.reproduce import reproduce
from bilevel_client.errors import NotFound
from bilevel_client.reproduction.document import Document
from bilevel_client.reproduction.running import Reproduction
from bilevel_client.reproduction.studies import STUDIES
from bilevel_client.reproduction.study import Changes, Results, Stage, Study
from bilevel_client.specs import BadSpec

pytestmark = pytest.mark.service

BASE = {
    "problem": {"kind": "quadratic", "inner_dimension": 4, "outer_dimension": 2},
    "algorithm": {"hyperiterations": 4},
    "evaluation": {"every": 2},
}


def report(results: Results) -> Document:
    return Document("toy", [])


STUDY = Study(
    "toy",
    "A toy",
    [
        Stage("first", BASE, {"algorithm.steps": (1, 4)}, seeds=(0, 1), quick={"seeds": (0,)}),
        Stage("second", BASE, seeds=(5,)),
        Stage("long", BASE, optional=True),
    ],
    report,
)


CHOSEN = STUDY.chosen((), all_stages=False)


class Interrupted(Exception):
    """As Ctrl-C would, after a stage."""


def test_a_study_goes_on_where_it_was(service, address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service.start_worker(slots=2)
    with Client(address) as client:

        def interrupted(*arguments: object, **options: object) -> None:
            raise Interrupted

        with monkeypatch.context() as patch:
            patch.setattr("bilevel_client.reproduction.running.follow_sweep", interrupted)
            with pytest.raises(Interrupted):
                Reproduction(client, STUDY, tmp_path, quiet=True).run(CHOSEN)
        state = json.loads((tmp_path / "reproduction.json").read_text())
        assert list(state["sweeps"]) == ["first", "second"]
        # The answer to the submission was lost, too: the key finds the sweep again.
        (tmp_path / "reproduction.json").write_text(json.dumps({**state, "sweeps": {}}))
        results = Reproduction(client, STUDY, tmp_path, quiet=True).run(CHOSEN)
        assert len(list(client.sweeps())) == 2
        assert list(results) == ["first", "second"]
        assert [member.parameters for member in results["first"].members] == [
            {"algorithm.steps": steps, "seed": seed} for steps in (1, 4) for seed in (0, 1)
        ]
        for found in results.values():
            for member in found.succeeded:
                assert member.result == client.result(member.experiment)
                assert member.curves["outer_objective"].step == [0, 1, 2, 3]
        assert [len(found.succeeded) for found in results.values()] == [4, 1]
        sweep = next(sweep for sweep in client.sweeps() if sweep["name"] == "toy: first")
        best = client.get_sweep(sweep["id"])["best"]  # of all seeds, as the service judges it
        assert results["first"].best(best["parameters"]["seed"]) == best["experiment_id"]
        kept = json.loads((tmp_path / "stages" / "second.json").read_text())
        del kept["specs"]  # as an older version left it
        (tmp_path / "stages" / "second.json").write_text(json.dumps(kept))
        for _ in range(2):
            again = Reproduction(client, STUDY, tmp_path, quiet=True).run(CHOSEN)
            assert again == results
        assert len(list(client.sweeps())) == 2
        for changes in (Changes(quick=True), Changes(settings=["algorithm.steps=2"]), Changes(seeds=[1])):
            with pytest.raises(BadSpec, match="holds what `bilevel reproduce toy` made"):
                Reproduction(client, STUDY, tmp_path, changes)
        changed = replace(STUDY, stages=[replace(STUDY.stages[0], grid={"algorithm.steps": (1, 5)}), *STUDY.stages[1:]])
        with pytest.raises(BadSpec, match="the stage `first` of another version of this study"):
            Reproduction(client, changed, tmp_path, quiet=True).run(CHOSEN)
        (tmp_path / "stages" / "first.json").unlink()
        with pytest.raises(BadSpec, match="the stage `first` of another version"):
            Reproduction(client, changed, tmp_path, quiet=True).run(CHOSEN)
        lost = json.loads((tmp_path / "reproduction.json").read_text())
        lost["sweeps"]["first"] = "0b86f29c-5e12-4f37-9c0e-6c1f1a0ce9a1"
        (tmp_path / "reproduction.json").write_text(json.dumps(lost))
        with pytest.raises(NotFound, match="another service"):
            Reproduction(client, STUDY, tmp_path, quiet=True).run(CHOSEN)


def test_every_seed_follows_its_own_best_and_a_retried_one_is_followed_anew(
    service, address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    varied = Stage("first", BASE, {"algorithm.hyperiterations": (2, 40)}, seeds=(0, 1))
    following = Stage("second", {**BASE, "labels": {"from": ""}}, seeds=(0, 1), follows={"labels.from": "first"})
    study = Study("toy", "A toy", [varied, following], report)
    asked = {"first", "second"}
    lost = {"algorithm.hyperiterations": 40, "seed": 1}

    def followed(client: Client, results: Results) -> dict[int, str]:
        members = results["second"].members
        return {each.parameters["seed"]: client.get(each.experiment)["labels"]["from"] for each in members}

    with Client(address) as client:

        def one_is_cancelled(client: Client, sweep: str, **options: Any) -> Any:
            if not list(tmp_path.glob("started")):
                experiments = {str(each["parameters"]): each["experiment_id"] for each in client.sweep_members(sweep)}
                client.cancel(experiments[str(lost)])
                service.start_worker(slots=2)
                (tmp_path / "started").touch()
            return follow_sweep(client, sweep, **options)

        monkeypatch.setattr("bilevel_client.reproduction.running.follow_sweep", one_is_cancelled)
        before = Reproduction(client, study, tmp_path, quiet=True).run(asked)
        assert [member.status for member in before["first"].members].count("cancelled") == 1
        first = {str(member.parameters): member.experiment for member in before["first"].members}
        long = first[str({**lost, "seed": 0})]
        assert followed(client, before) == {0: long, 1: first[str({"algorithm.hyperiterations": 2, "seed": 1})]}
        sweep = next(sweep["id"] for sweep in client.sweeps() if sweep["name"] == "toy: first")
        client.retry_sweep(sweep)
        client.wait_sweep(sweep)
        after = Reproduction(client, study, tmp_path, quiet=True).run(asked)
        (retried,) = (member for member in after["first"].members if member.parameters == lost)
        assert followed(client, after) == {0: long, 1: retried.experiment}
        assert after["second"].members[0] == before["second"].members[0]
        names = ["toy: first", "toy: second, seed 0", "toy: second, seed 1", "toy: second, seed 1"]
        assert sorted(sweep["name"] for sweep in client.sweeps()) == names
        assert Reproduction(client, study, tmp_path, quiet=True).run(asked) == after
        assert len(list(client.sweeps())) == len(names)


def test_a_study_that_is_refused_does_not_keep_the_others(
    service, address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.start_worker(slots=1)
    impossible = replace(STUDY, stages=[Stage("refused", {"problem": {"kind": "quadratic", "inner": 4}})])
    monkeypatch.setitem(STUDIES, "mini-imagenet", impossible)
    monkeypatch.setitem(STUDIES, "learned-optimizer", replace(STUDY, stages=STUDY.stages[:1]))
    arguments = ["mini-imagenet", "learned-optimizer", "--quick", "--out", str(tmp_path / "out"), "--url", address]
    ended = CliRunner().invoke(reproduce, arguments)
    assert ended.exit_code == 1, ended.output
    assert "mini-imagenet: " in ended.stderr
    assert "`inner` is not known here" in ended.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["learned-optimizer-quick"]
    report = tmp_path / "out" / "learned-optimizer-quick" / "report.md"
    assert str(report) in ended.stdout
    assert "--quick" in report.read_text()
    again = CliRunner().invoke(reproduce, ["learned-optimizer", *arguments[2:], "--json"])
    stages = {"first": {"experiments": 2, "succeeded": 2}}
    assert json.loads(again.stdout) == [{"study": "learned-optimizer", "report": str(report), "stages": stages}]


def test_what_was_refused_can_be_asked_for_anew(
    service, address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.start_worker(slots=1)
    out = tmp_path / "out"
    monkeypatch.setitem(STUDIES, "overfitting", replace(STUDY, stages=STUDY.stages[1:2]))
    monkeypatch.setattr("bilevel_client.commands.service.QUICK", 0.2)
    arguments = ["overfitting", "--out", str(out), "--url", address]
    ended = CliRunner().invoke(reproduce, [*arguments[:-1], "http://127.0.0.1:9"])
    assert ended.exit_code == 3
    assert not out.exists()
    ended = CliRunner().invoke(reproduce, [*arguments, "--set", "algorithm.stpes=3"])
    assert ended.exit_code == 1
    assert "`stpes` is not known here" in ended.stderr
    assert not out.exists()
    ended = CliRunner().invoke(reproduce, [*arguments, "--seeds", "0..x"])
    assert ended.exit_code == 2
    (out / "overfitting").mkdir(
        parents=True
    )  # as it was left while the answer to a submission with other seeds was awaited
    lost = {"study": "toy", "quick": False, "settings": [], "seeds": [3], "key": "a key", "sweeps": {}}
    (out / "overfitting" / "reproduction.json").write_text(json.dumps(lost))
    ended = CliRunner().invoke(reproduce, [*arguments, "--set", "algorithm.steps=3"])
    assert ended.exit_code == 0, ended.output
    assert "Submitted by Bilevel " in (out / "overfitting" / "report.md").read_text()


def test_ctrl_c_is_exit_status_130_and_says_how_to_go_on(
    service, address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(STUDIES, "overfitting", STUDY)
    monkeypatch.setattr("bilevel_client.reproduction.running.follow_sweep", interrupt)
    ended = CliRunner().invoke(reproduce, ["overfitting", "--out", str(tmp_path), "--url", address])
    assert ended.exit_code == 130
    assert "what was submitted goes on. The same command takes it up again." in ended.stderr


def test_one_stage_of_a_study_and_then_the_others(
    service, address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.start_worker(slots=2)
    monkeypatch.setitem(STUDIES, "overfitting", STUDY)
    arguments = ["overfitting", "--out", str(tmp_path), "--url", address]
    report = tmp_path / "overfitting" / "report.md"
    with Client(address) as client:
        ended = CliRunner().invoke(reproduce, [*arguments, "--stage", "long"])
        assert ended.exit_code == 0, ended.output
        assert [sweep["name"] for sweep in client.sweeps()] == ["toy: long"]
        assert "`bilevel reproduce toy --stage long`" in report.read_text()
        ended = CliRunner().invoke(reproduce, arguments)
        assert ended.exit_code == 0, ended.output
        assert {sweep["name"] for sweep in client.sweeps()} == {"toy: long", "toy: first", "toy: second"}
        assert "--all-stages" in report.read_text()  # the optional one is in it, too
        other = ["overfitting", "--out", str(tmp_path / "other"), "--url", address, "--stage", "second"]
        ended = CliRunner().invoke(reproduce, [*other, "--set", "algorithm.steps=3", "--seeds", "1..2"])
        assert ended.exit_code == 0, ended.output
        newest = next(iter(client.sweeps()))
        assert newest["name"] == "toy: second"
        members = client.sweep_members(newest["id"])
        assert [member["parameters"]["seed"] for member in members] == [1, 2]
        specs = [client.get(member["experiment_id"])["spec"] for member in members]
        assert [spec["algorithm"]["steps"] for spec in specs] == [3, 3]
        assert "--set algorithm.steps=3 --seeds 1,2" in (tmp_path / "other" / "overfitting" / "report.md").read_text()
        taken = CliRunner().invoke(reproduce, [*arguments, "--set", "algorithm.steps=3"])
        assert taken.exit_code == 2
        assert "the stage `first` has values of its own for `algorithm.steps`" in taken.stderr
        refused = CliRunner().invoke(reproduce, [*arguments, "--stage", "lnog"])
        assert refused.exit_code == 2
        assert "has no stage 'lnog'" in refused.stderr
