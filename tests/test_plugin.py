"""The example package is installed as a user would install it; what it adds is known without torch, and runs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "examples/plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugin")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder)]
    subprocess.run([*pip, *options, str(PACKAGE)], check=True, cwd=folder)
    return folder


def python(code: str, *folders: Path, given: Any = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*folders, ROOT])), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, env=environment, input=json.dumps(given), capture_output=True, text=True, check=False, cwd=ROOT
    )


SPECS = [
    json.loads((PACKAGE / "experiment.json").read_text()),
    {"problem": {"kind": "regularization", "dataset": {"kind": "spirals"}, "model": {"kind": "with_squares"}}},
    {"problem": {"kind": "hyper_cleaning", "dataset": {"kind": "spirals"}, "train": 100, "validation": 100}},
]

VALIDATE = """
import json, sys
from core.spec import Experiment
from core.spec.assumptions import assumptions
from core.spec.catalog import KINDS, kind_of
from core.planning import plan
names = {section: [kind_of(member) for member in members] for section, members in KINDS.items()}
specs = [Experiment.model_validate(spec) for spec in json.load(sys.stdin)]
for spec in specs:
    assumptions(spec), plan(spec), spec.sha256()
from api.main import create_app
schema = json.dumps(Experiment.model_json_schema())
assert "torch" not in sys.modules
print(json.dumps({"kinds": names, "schema": [kind in schema for kind in ("spirals", "with_squares")]}))
"""

RUN = """
import json, sys
from pathlib import Path
from core.checkpointing import MemoryCheckpoints
from core.recording import MemoryRecorder
from core.run import Finished, run
from core.spec import Experiment
for spec in json.load(sys.stdin):
    spec.setdefault("algorithm", {}).update(hyperiterations=3, steps=10)
    recorder = MemoryRecorder()
    done = run(Experiment.model_validate(spec), device="cpu", data_dir=Path("none"), recorder=recorder,
               checkpoints=MemoryCheckpoints())
    assert isinstance(done, Finished)
    curve = recorder.curves["outer_objective"]
    assert curve[2] != curve[0], "the outer variables have no effect"
    print(len(curve))
"""


def test_validation_catalogue_and_plan_know_it_without_torch(installed: Path) -> None:
    found = python(VALIDATE, installed, given=SPECS)
    assert found.returncode == 0, found.stderr
    answer = json.loads(found.stdout)
    assert "robust_regression" in answer["kinds"]["problem"]
    assert "with_squares" in answer["kinds"]["model"]
    assert "spirals" in answer["kinds"]["dataset"]
    assert answer["schema"] == [True, True]


def test_its_experiments_run(installed: Path) -> None:
    found = python(RUN, installed, given=SPECS)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == ["3"] * len(SPECS)


def test_without_the_package_its_kinds_are_refused() -> None:
    found = python(RUN, given=SPECS[:1])
    assert found.returncode != 0
    assert "robust_regression" in found.stderr


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise RuntimeError('broken at import')", "broken at import"),
        ("import torch\nThing = 1", "imports torch"),
        ("Thing = 1", "has to be a class"),
        (
            "from typing import Literal\nfrom core.spec.plugins import PluginProblem\n"
            "class Thing(PluginProblem):\n"
            "    build = 'a:b'\n    kind: Literal['quadratic'] = 'quadratic'\n"
            "    def inner_variables(self): return 1\n    def outer_variables(self): return 1\n",
            "exists already",
        ),
    ],
    ids=["broken", "torch", "not a class", "taken"],
)
def test_a_package_that_cannot_be_used_is_left_out_with_a_warning(code: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "bad_plugin.py").write_text(code)
    information = tmp_path / "bad_plugin-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-plugin\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[bilevel.problems]\nbad = bad_plugin:Thing\n")
    check = "from core.spec.catalog import KINDS; print(len(KINDS['problem']))"
    found, alone = python(check, tmp_path), python(check)
    assert found.stdout == alone.stdout
    assert told in found.stderr
    assert "bad = bad_plugin:Thing" in found.stderr
