"""The diffs of docs/adding.md apply to the code as it is, and an experiment with each addition runs."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIFFS = re.findall(r"```diff\n(.*?)```", (ROOT / "docs/adding.md").read_text(), re.DOTALL)

SPECS = [
    {"problem": {"kind": "quadratic"}, "algorithm": {"optimizer": {"kind": "sign_sgd"}}},
    {"problem": {"kind": "regularization", "dataset": {"kind": "friedman"}}},
    {"problem": {"kind": "shrinkage"}},
    {"problem": {"kind": "shrinkage"}, "algorithm": {"hypergradient": {"kind": "exact"}}},
]

RUN = """
import json, sys
from pathlib import Path
import core
from core.checkpointing import MemoryCheckpoints
from core.recording import MemoryRecorder
from core.run import Finished, run
from core.spec import Experiment
assert Path(core.__file__).is_relative_to(Path.cwd()), core.__file__
for spec in json.load(sys.stdin):
    spec.setdefault("algorithm", {}).update(hyperiterations=3, steps=10)
    recorder = MemoryRecorder()
    done = run(Experiment.model_validate(spec), device="cpu", data_dir=Path("none"), recorder=recorder,
               checkpoints=MemoryCheckpoints())
    assert isinstance(done, Finished)
    print(len(recorder.curves["outer_objective"]))
"""


def test_every_addition_applies_and_runs(tmp_path: Path) -> None:
    assert len(DIFFS) == 3
    shutil.copytree(ROOT / "core", tmp_path / "core", ignore=shutil.ignore_patterns("__pycache__"))
    for diff in DIFFS:
        subprocess.run(["git", "apply", "--verbose", "-"], cwd=tmp_path, input=diff, text=True, check=True)
    ran = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        input=json.dumps(SPECS),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["3"] * len(SPECS)
