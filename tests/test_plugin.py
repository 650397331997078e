"""The package in examples/plugin, installed: its kinds are in the schema and the catalogue, without torch, and run."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "examples/plugin"
TABLE = {"dataset": {"kind": "spirals"}, "model": {"kind": "with_squares"}}
SPECS: list[dict[str, Any]] = [
    json.loads((PLUGIN / "experiment.json").read_text()),
    {"problem": {"kind": "robust_regression"}, "algorithm": {"dynamics": {"kind": "adam", "batch": 10}}},
    {"problem": {"kind": "robust_regression"}, "algorithm": {"kind": "saba", "batch": 20, "hyperiterations": 50}},
    {"problem": {"kind": "regularization", **TABLE}},
    {"problem": {"kind": "hyper_cleaning", **TABLE, "train": 200, "validation": 100, "final_steps": 5}},
]

DESCRIBE = """
import json, sys
{first}
from api.routes.catalog import catalog
from core.datasets.catalog import ENTRIES
from core.datasets.finding import require
from core.planning import plan
from core.settings import Settings
from core.spec import KINDS, Experiment, kind_of
from pathlib import Path
from types import SimpleNamespace
specs = [Experiment.model_validate(spec) for spec in json.load(sys.stdin)]
for spec in specs:
    require(spec.problem, Path("none"))
    assert Experiment.model_validate(spec.canonical()) == spec
    plan(spec)
listed = catalog(SimpleNamespace(settings=SimpleNamespace(data_dir=Path("none"))), None)
found = {{
    "kinds": {{section: [kind_of(member) for member in members] for section, members in KINDS.items()}},
    "catalog": {{part: {{entry["kind"]: entry for entry in entries}} for part, entries in listed["kinds"].items()}},
    "schema": sorted(Experiment.model_json_schema()["$defs"]),
    "torch": "torch" in sys.modules,
}}
print(json.dumps(found))
"""

REFUSE = """
import json, sys
from pydantic import ValidationError
from core.spec import Experiment
for spec in json.load(sys.stdin):
    try:
        Experiment.model_validate(spec)
    except ValidationError as error:
        print(error.errors()[0]["msg"])
"""

RUN = """
import json, sys
from pathlib import Path
from core.checkpointing import MemoryCheckpoints
from core.recording import MemoryRecorder
from core.run import Finished, run
from core.spec import Experiment
for number, spec in enumerate(json.load(sys.stdin)):
    if number:
        algorithm = spec.setdefault("algorithm", {})
        algorithm.update({} if "kind" in algorithm else {"hyperiterations": 3, "steps": 10})
    recorder = MemoryRecorder()
    done = run(Experiment.model_validate(spec), device="cpu", data_dir=Path("none"), recorder=recorder,
               checkpoints=MemoryCheckpoints())
    assert isinstance(done, Finished)
    assert done.result["environment"]["packages"]["bilevel-plugin-example"] == "0.1.0"
    assert (done.result["data"] or {}).get("kind") == ("spirals" if "dataset" in spec["problem"] else None)
    final = done.result["final"]["validation"]["loss"]["mean"]
    print(json.dumps([final, *recorder.curves["validation/loss"].values()]))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as pip installs it, without a network."""
    source, target = tmp_path_factory.mktemp("source") / "plugin", tmp_path_factory.mktemp("installed")
    shutil.copytree(PLUGIN, source)  # a build leaves files beside the source
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    command = [*pip, "--disable-pip-version-check", "--target", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def python(code: str, target: Path, given: object) -> list[str]:
    """The lines that the code prints where the package is installed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONPATH": str(target), "OMP_NUM_THREADS": "1"},
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "left out" not in done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("first", ["", "import bilevel_plugin_example.spec"])
def test_the_api_knows_the_kinds_without_torch(installed: Path, first: str) -> None:
    """Whichever is imported first, the package or the specs."""
    found = json.loads(python(DESCRIBE.format(first=first), installed, SPECS)[-1])
    for section, kind in (("problem", "robust_regression"), ("model", "with_squares"), ("dataset", "spirals")):
        assert kind in found["kinds"][section]
        entry = found["catalog"][section][kind]
        assert entry["example"]["kind"] == kind
        assert entry["description"]
    assert entry["missing"] is None
    assert entry["licence"] == "CC0-1.0"
    assert {"RobustRegression", "WithSquares", "Spirals"} <= set(found["schema"])
    assert found["torch"] is False


def test_fields_and_combinations_of_the_package_are_validated(installed: Path) -> None:
    problem = {"kind": "robust_regression"}
    refused = [
        {"problem": {**problem, "outliers": 1}},
        {"problem": {**problem, "outlier": 0.1}},
        {"problem": problem, "algorithm": {"hypergradient": {"kind": "exact"}}},
        {"problem": problem, "algorithm": {"dynamics": {"kind": "adam", "batch": 101}}},
        {"problem": {"kind": "regularization", **TABLE, "train": 500, "validation": 200}},
    ]
    lines = python(REFUSE, installed, refused)
    expected = ["less than 1", "Extra inputs", "closed form", "training set (100)", "spirals has 600 examples"]
    assert len(lines) == len(expected)
    assert all(part in line for part, line in zip(expected, lines, strict=True)), lines


def test_every_kind_of_the_package_runs(installed: Path) -> None:
    lines = [json.loads(line) for line in python(RUN, installed, SPECS)]
    assert len(lines) == len(SPECS)
    assert lines[0][-1] < 0.1 * lines[0][1]  # the outliers no longer pull at the fit
