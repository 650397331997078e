"""An experiment in stretches, without a service, ends with the result of one run."""

import json
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from benchmarks.stretch import Folder, main, stretch
from core.run import Finished, Stopped
from core.settings import Settings
from tests.core.conftest import synthetic_omniglot  # noqa: F401

SPEC: dict[str, Any] = {
    "problem": {"kind": "hyper_cleaning", "final_steps": 20},
    "algorithm": {"kind": "nested", "steps": 20, "hyperiterations": 40},
    "evaluation": {"every": 10},
}


def begun(place: Path) -> Path:
    place.mkdir()
    (place / "spec.json").write_text(json.dumps(SPEC))
    return place


def left(place: Path) -> tuple[Any, Any, bytes]:
    """Curves but for the seconds, accuracies and outer variables."""
    result, curves = (json.loads((place / f"{name}.json").read_text()) for name in ("result", "curves"))
    assert len(curves.pop("seconds")) == SPEC["algorithm"]["hyperiterations"]
    scores = result["best"], result["final"], result["report"]
    return curves, scores, (place / "outer_variables.safetensors").read_bytes()


def test_stretches_give_what_one_run_gives(tmp_path: Path) -> None:
    assert main([str(begun(tmp_path / "whole")), "--seconds", "1000", "--prepared"]) == 0
    place, stops = begun(tmp_path / "parts"), []
    while isinstance(found := stretch(Folder(place), device="cpu", seconds=15, clock=count().__next__), Stopped):
        stops.append(found.hyperiteration)
    assert isinstance(found, Finished)
    assert stops == [14, 28]
    assert left(place) == left(tmp_path / "whole")
    assert len(list(place.glob("checkpoint-*"))) == 1


def test_a_stretch_that_ends_says_that_there_is_more(tmp_path: Path) -> None:
    assert main([str(begun(tmp_path / "parts")), "--seconds", "0", "--prepared"]) == 75


def test_what_has_ended_is_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = begun(tmp_path / "whole")
    (place / "result.json").write_text(json.dumps({"test": {"accuracy": 1}}))
    assert main([str(place), "--seconds", "1000", "--prepared"]) == 0
    assert json.loads(capsys.readouterr().out) == {"accuracy": 1}
    assert not (place / "curves.json").exists()


def test_what_fails_says_why(tmp_path: Path) -> None:
    place = begun(tmp_path / "diverging")
    dynamics = {"kind": "gradient_descent", "rate": 1e4}
    (place / "spec.json").write_text(json.dumps(SPEC | {"algorithm": SPEC["algorithm"] | {"dynamics": dynamics}}))
    assert main([str(place), "--seconds", "1000", "--prepared"]) == 1
    error = json.loads((place / "error.json").read_text())
    assert error["kind"] == "Diverged"
    assert "rate" in error["message"]
    assert not (place / "result.json").exists()


def test_an_experiment_goes_on_from_that_of_another_folder(
    tmp_path: Path,
    synthetic_omniglot: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("benchmarks.stretch.settings", lambda: Settings(data_dir=synthetic_omniglot))
    problem = {"kind": "hyper_representation", "model": {"kind": "mlp", "hidden": [2]}, "query": 2, "meta_batch": 2}
    spec = {
        "problem": problem,
        "algorithm": {"kind": "nested", "steps": 2, "hyperiterations": 2},
        "evaluation": {"every": 1, "episodes": 3},
    }
    start = {"kind": "experiment", "experiment": str(UUID(int=0))}
    for name, described in (("first", spec), ("second", spec | {"problem": problem | {"start": start}})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "spec.json").write_text(json.dumps(described))
    words = [str(tmp_path / "second"), "--seconds", "1000", "--prepared", "--following", str(tmp_path / "first")]
    assert main(words) == 1
    assert "let that experiment end first" in (tmp_path / "second" / "error.json").read_text()
    assert main([str(tmp_path / "first"), "--seconds", "1000", "--prepared"]) == 0
    assert main(words) == 0
    curves = [json.loads((tmp_path / name / "curves.json").read_text()) for name in ("first", "second")]
    assert curves[1]["validation/accuracy"]["0"] == max(curves[0]["validation/accuracy"].values())
