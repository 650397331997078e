import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core.datasets.finding import find, require
from core.errors import DataInvalid, DataMissing
from core.spec.datasets import A9a, Digits, German, Omniglot
from core.spec.problems import HyperRepresentation, Quadratic, Regularization


def test_it_loads_neither_torch_nor_numpy() -> None:
    code = "import sys, core.datasets.finding; print(sorted({'torch', 'numpy', 'scipy', 'sklearn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_is_required_of_built_in_data(tmp_path: Path) -> None:
    require(Digits(), tmp_path)
    require(Regularization(), tmp_path)
    require(Quadratic(), tmp_path)


def test_a_missing_file_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(DataMissing) as caught:
        require(HyperRepresentation(), tmp_path)
    assert str(tmp_path / "omniglot-28.npz") in str(caught.value)
    assert "bilevel data prepare omniglot --from images_background.zip images_evaluation.zip`" in str(caught.value)


def test_a_data_sets_own_file_goes_before_a_shared_one(tmp_path: Path) -> None:
    (tmp_path / "libsvm-a9a-w8a-german.npz").touch()
    assert find("a9a", tmp_path).name == "libsvm-a9a-w8a-german.npz"
    (tmp_path / "a9a.npz").touch()
    assert find("a9a", tmp_path).name == "a9a.npz"


def test_a_file_without_the_arrays_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "libsvm-a9a-w8a-german.npz", german_X=np.zeros(1), german_y=np.zeros(1))
    require(German(), tmp_path)
    with pytest.raises(DataInvalid, match="a9a_indices"):
        require(A9a(), tmp_path)


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "german.npz").write_bytes(b"nothing of the kind")
    with pytest.raises(DataInvalid, match="not a readable npz file"):
        require(German(), tmp_path)


def test_the_split_of_vinyals_needs_its_lists(tmp_path: Path) -> None:
    np.savez(tmp_path / "omniglot-28.npz", images=np.zeros(1), names=np.zeros(1))
    require(Omniglot(split="paper"), tmp_path)
    with pytest.raises(DataMissing, match=r"use the split `paper`, or add .* train.txt val.txt test.txt"):
        require(Omniglot(split="vinyals"), tmp_path)
    np.savez(tmp_path / "omniglot-28.npz", images=np.zeros(1), names=np.zeros(1), vinyals_split=np.zeros(1))
    require(Omniglot(split="vinyals"), tmp_path)
