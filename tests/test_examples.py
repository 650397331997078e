"""Every example is run for a few hyperiterations, and together they show every problem and every method."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.checkpointing import MemoryCheckpoints
from core.comparing import score
from core.datasets.catalog import ENTRIES
from core.recording import MemoryRecorder
from core.run import Finished, run
from core.spec import KINDS, Experiment, Sweep, kind_of
from core.spec.stochastic import Stochastic

FOLDER = Path(__file__).parents[1] / "examples"
FILES = sorted(path for path in FOLDER.iterdir() if path.suffix in (".json", ".yaml"))
FEW_STEPS = 20
MANY = 200


def read(path: Path) -> dict[str, Any]:
    text = path.read_text()
    spec: dict[str, Any] = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    return spec


def shortened(spec: dict[str, Any]) -> Experiment:
    """The same spec with less to do."""
    canonical = Experiment.model_validate(spec).canonical()
    canonical["algorithm"]["hyperiterations"] = 2
    if "steps" in canonical["algorithm"]:
        canonical["algorithm"]["steps"] = min(canonical["algorithm"]["steps"], FEW_STEPS)
    hypergradient = canonical["algorithm"].get("hypergradient", {})
    if hypergradient.get("truncate"):
        hypergradient["truncate"] = FEW_STEPS // 2
    canonical["evaluation"] |= {"every": 1, "episodes": 4}
    problem = canonical["problem"]
    if "meta_batch" in problem:
        problem["meta_batch"] = 2
    if problem.get("model", {}).get("kind") == "residual":
        problem["model"] |= {"blocks": [4, 8], "hidden": 16, "features": 8}
    if "final_steps" in problem:
        problem["final_steps"] = FEW_STEPS
    if problem["kind"] == "learned_optimizer":
        problem["unrolls"] = min(problem["unrolls"], 2)
        problem["horizon"] = canonical["algorithm"]["steps"] * problem["unrolls"] + 1
    if problem["kind"] == "learned_data":
        problem |= {"train": 1500, "validation": 200, "draws": 2}
    return Experiment.model_validate(canonical)


def runnable(path: Path, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where its data are; skips where they are real and not there."""
    problem = Experiment.model_validate(read(path)).problem
    dataset = getattr(problem, "dataset", None) or getattr(getattr(problem, "tasks", None), "dataset", None)
    if dataset is None or ENTRIES[kind_of(type(dataset))].built_in:
        return tmp_path
    data_dir: Path = request.getfixturevalue("data_dir")
    return data_dir


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_example_runs(path: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    recorder = MemoryRecorder()
    finished = run(
        shortened(read(path)),
        device="cpu",
        data_dir=runnable(path, request, tmp_path),
        recorder=recorder,
        checkpoints=MemoryCheckpoints(),
    )
    assert isinstance(finished, Finished)
    assert list(recorder.curves["outer_objective"]) == [0, 1]
    assert list(recorder.curves["validation/loss"]) == [0, 1, 2]
    json.dumps(finished.result, allow_nan=False)


STOCHASTIC = [path for path in FILES if isinstance(Experiment.model_validate(read(path)).algorithm, Stochastic)]


@pytest.mark.parametrize("path", STOCHASTIC, ids=lambda path: path.name)
def test_many_hyperiterations_of_a_stochastic_example_stay_finite(path: Path, tmp_path: Path) -> None:
    canonical = Experiment.model_validate(read(path)).canonical()
    canonical["algorithm"]["hyperiterations"] = MANY
    canonical["evaluation"]["every"] = MANY
    recorder = MemoryRecorder()
    spec = Experiment.model_validate(canonical)
    run(spec, device="cpu", data_dir=tmp_path, recorder=recorder, checkpoints=MemoryCheckpoints())
    assert len(recorder.curves["outer_objective"]) == MANY
    assert all(math.isfinite(value) for curve in recorder.curves.values() for value in curve.values())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_example_is_named_and_labelled(path: Path) -> None:
    spec = Experiment.model_validate(read(path))
    assert spec.name != "untitled"
    assert spec.labels


def kinds(data: Any) -> set[str]:
    """Every `kind` in a spec."""
    if isinstance(data, dict):
        own = {data["kind"]} if "kind" in data else set()
        return own.union(*(kinds(part) for part in data.values()))
    return set()


@pytest.mark.parametrize(
    "section",
    [
        "problem",
        "weights",
        "heads",
        "optimizer_network",
        "tasks",
        "dynamics",
        "hypergradient",
        "solver",
        "optimizer",
        "model",
    ],
)
def test_every_kind_has_an_example(section: str) -> None:
    shown = set().union(*(kinds(Experiment.model_validate(read(path)).canonical()) for path in FILES))
    assert {kind_of(member) for member in KINDS[section]} <= shown


SWEEPS = sorted((FOLDER / "sweeps").iterdir())


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.name)
def test_members_of_an_example_of_a_sweep_run(path: Path, tmp_path: Path) -> None:
    sweep = Sweep.model_validate(read(path))
    assert sweep.name != "untitled"
    assert sweep.labels
    assert len(sweep.members) > 1
    for member in (sweep.members[0], sweep.members[-1]):
        spec = shortened(member.experiment.canonical())
        finished = run(
            spec, device="cpu", data_dir=tmp_path, recorder=MemoryRecorder(), checkpoints=MemoryCheckpoints()
        )
        assert isinstance(finished, Finished)
        parts = [finished.result[part] for part in ("selection", "best", "test")]
        assert score(0, member.parameters, spec.canonical(), *parts) is not None
