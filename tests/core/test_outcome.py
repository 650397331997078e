import json
import math
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import ProblemInvalid
from core.outcome import environment, git_revision, json_valid


def test_numbers_that_json_does_not_have_become_strings() -> None:
    data = {"a": [math.nan, math.inf, 1.5], "b": {"c": (-math.inf, 2, True, None, "x")}}
    assert json_valid(data) == {"a": ["NaN", "Infinity", 1.5], "b": {"c": ["-Infinity", 2, True, None, "x"]}}
    json.dumps(json_valid(data), allow_nan=False)


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ({"x": torch.ones(3)}, "report/x is a Tensor: give numbers, text, lists or objects"),
        ({"rows": [1, {"found": {2}}]}, "report/rows/1/found is a set: "),
        ({"x": np.float32(1)}, "report/x is a float32: "),
    ],
)
def test_what_is_no_data_is_named_by_its_place(report: object, said: str) -> None:
    with pytest.raises(ProblemInvalid, match=f"^{said}"):
        json_valid({"report": report})


def test_environment_says_what_the_numbers_were_made_with() -> None:
    found = environment("cpu")
    assert found["torch"] == torch.__version__
    assert found["device"] == "cpu"
    assert found["device_name"]
    assert found["threads"] == torch.get_num_threads()


def test_the_revision_is_that_of_the_folder_itself(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert git_revision(tmp_path) is None
    git("init")
    assert git_revision(tmp_path) is None  # no commit yet
    git("commit", "--allow-empty", "--no-verify", "-m", "first")
    assert git_revision(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "site-packages").mkdir()
    assert git_revision(tmp_path / "site-packages") is None  # someone else's checkout
