"""What a result says of the process that made it."""

import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.environment import environment, git_revision
from core.spec import Experiment


def test_environment_says_what_the_numbers_were_made_with() -> None:
    found = environment("cpu")
    assert found["torch"] == torch.__version__
    assert found["device"] == "cpu"
    assert found["device_name"]
    assert found["threads"] == torch.get_num_threads()
    assert found["packages"] == {"numpy": np.__version__, "safetensors": version("safetensors")}


@pytest.mark.parametrize(
    ("problem", "used"),
    [
        ({"kind": "quadratic"}, False),
        ({"kind": "regularization"}, True),
        ({"kind": "regularization", "dataset": {"kind": "synthetic_regression"}}, False),
        ({"kind": "learned_optimizer", "tasks": {"kind": "classification"}}, True),
    ],
)
def test_scikit_learn_is_named_where_its_data_are_used(problem: dict[str, Any], used: bool) -> None:
    spec = Experiment.model_validate({"problem": problem})
    found = environment("cpu", spec)["packages"]
    assert ("scikit-learn" in found) == used
    assert found.get("scikit-learn", version("scikit-learn")) == version("scikit-learn")


def test_the_revision_is_that_of_the_folder_itself(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert git_revision(tmp_path) is None
    git("init")
    assert git_revision(tmp_path) is None  # no commit yet
    (tmp_path / "code.py").write_text("a = 1\n")
    git("add", "code.py")
    git("commit", "--no-verify", "-m", "first")
    git("tag", "v1")
    assert git_revision(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "code.py").write_text("a = 2\n")
    assert git_revision(tmp_path) == f"{git('rev-parse', 'HEAD')}+dirty"
    (tmp_path / "site-packages").mkdir()
    assert git_revision(tmp_path / "site-packages") is None  # someone else's checkout
