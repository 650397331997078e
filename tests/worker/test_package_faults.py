"""What goes wrong in the code of a package is its author's to mend: told with the place and not tried again."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.packages import install

ROOT = Path(__file__).parents[2]
SPEC = '''
from typing import Literal
from core.spec.plugins import PluginProblem

class Faulty(PluginProblem):
    """A problem in which something goes wrong."""
    build = "augreg.problem:faulty"
    kind: Literal["faulty"] = "faulty"
    fault: str = ""
    def inner_variables(self): return 1
    def outer_variables(self): return 1
'''
PROBLEM = """
import sys
import torch
from core.bilevel.dynamics import full_batch
from core.bilevel.problem import Problem
from core.errors import SplitInvalid
from core.problems.instance import Evaluation, Instance, LOWEST_LOSS, metric

def go_wrong(fault):
    match fault:
        case "missing file": open("/nowhere.csv")
        case "folder": open("/")
        case "exit": sys.exit("bye")
        case "key": {}["f1"]
        case "memory": raise RuntimeError("can't allocate memory: you tried to allocate 8 bytes")
        case "own refusal": raise SplitInvalid("too few draws")

def faulty(spec, inner, context):
    when, _, fault = spec.fault.partition(": ")
    def at(place):
        if place == when:
            go_wrong(fault)
    at("build")
    def loss(w, lam):
        at("objective")
        return (w - lam["x"]) ** 2
    def init(lam):
        return torch.zeros_like(lam["x"])
    stated = Problem(loss, lambda w, lam: w**2, init)
    dynamics = inner.dynamics(full_batch(loss), init)
    def evaluate(lam, w=None):
        at("evaluate")
        if when == "artifacts of others":
            context.artifacts("0", "file")
        w = inner.solve(stated, dynamics, lam) if w is None else w
        loss = {"loss": metric(w**2)}
        return Evaluation(loss, loss)
    def report(lam):
        at("report")
        if fault == "no object":
            return None
        return {"x": {"tensor": torch.ones(3), "none": None}.get(fault, 1)}
    initial = context.place({"x": torch.tensor(1.0, dtype=torch.float64)})
    return Instance(initial, lambda k: (stated, dynamics), evaluate, LOWEST_LOSS, lambda lam: lam, report=report)
"""
WORK = """
import json, sys
from pathlib import Path
from uuid import UUID
from core.checkpointing import MemoryCheckpoints
from core.recording import MemoryRecorder
from core.settings import Settings
from worker import child
from worker.order import Order

def unreadable(*place):
    raise OSError(5, "Input/output error", "blob")

unreadable.__globals__["__name__"] = "core.store.artifacts"  # as the service's own
child.StoreRecorder = lambda *given, **knobs: MemoryRecorder()
child.StoreCheckpoints = lambda *given, **knobs: MemoryCheckpoints()
child.StoreArtifacts = lambda *given, **knobs: unreadable
settings = Settings(DATABASE_URL="postgresql://nobody@localhost/none", storage_dir=Path(sys.argv[1]))
for fault in json.load(sys.stdin):
    problem = {"kind": "faulty", "fault": fault}
    spec = {"problem": problem, "algorithm": {"hyperiterations": 1, "steps": 2}}
    report = child.work(Order(UUID(int=1), 1, spec, "cpu", 1, settings), lambda: False)
    print(report.encode().decode())
"""
NOWHERE = "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere.csv'"
FAULTS = {
    # fault -> outcome, code, message: its beginning and its end
    "build: missing file": ("failed", "data_missing", NOWHERE, "(augreg/problem.py:11, in go_wrong)"),
    "evaluate: missing file": ("failed", "data_missing", NOWHERE, "(augreg/problem.py:11, in go_wrong)"),
    "objective: folder": ("failed", "exception", "IsADirectoryError: ", "(augreg/problem.py:12, in go_wrong)"),
    "build: exit": ("failed", "exception", "SystemExit: bye", "(augreg/problem.py:13, in go_wrong)"),
    "report: exit": ("failed", "exception", "SystemExit: bye", "(augreg/problem.py:13, in go_wrong)"),
    "objective: key": ("failed", "exception", "KeyError: 'f1'", "(augreg/problem.py:14, in go_wrong)"),
    "objective: memory": ("failed", "out_of_memory", "RuntimeError: can't", "(augreg/problem.py:15, in go_wrong)"),
    "build: own refusal": ("failed", "split_invalid", "too few draws", "(augreg/problem.py:16, in go_wrong)"),
    "report: tensor": (*("failed", "problem_invalid", "report/x is a Tensor", "give numbers, text, lists or objects"),),
    "report: no object": ("failed", "problem_invalid", "report is a NoneType", "give an object, a dict by name"),
    "artifacts of others": ("lost", "system", "OSError: [Errno 5]", "'blob'"),
    "report: none": ("succeeded", None, "", ""),
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, dict[str, Any]]:
    """Of each fault, how the child says that the experiment ended."""
    folder = tmp_path_factory.mktemp("installed")
    modules = {"augreg/__init__": "", "augreg/spec": SPEC, "augreg/problem": PROBLEM}
    install(folder, modules, {"faulty": "augreg.spec:Faulty"})
    done = subprocess.run(
        [sys.executable, "-c", WORK, str(folder / "storage")],
        cwd=ROOT,
        env={"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        input=json.dumps(list(FAULTS)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(FAULTS, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_package_is_the_users(fault: str, reports: Mapping[str, dict[str, Any]]) -> None:
    outcome, code, beginning, end = FAULTS[fault]
    report = reports[fault]
    assert report["outcome"] == outcome, report
    if outcome == "succeeded":
        assert report["data"]["result"]["report"] == {"x": None}
        return
    error = report["data"]
    assert (error["category"], error["code"]) == ("infrastructure" if outcome == "lost" else "user", code)
    assert error["message"].startswith(beginning), error
    assert error["message"].endswith(end), error
