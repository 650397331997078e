import subprocess
from pathlib import Path

import torch

from core.outcome import environment, git_revision


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
