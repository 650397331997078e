"""Which data an experiment sees, and which rows of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.datasets import own
from core.datasets.origin import load_split, origin_of
from core.datasets.prepared import write
from core.datasets.tables import load_table
from core.errors import DataMissing
from core.spec import Experiment
from core.spec.datasets import Digits, OwnTable, SyntheticRegression


def added(folder: Path, x: Any, *, name: str = "own", test: Any = None) -> OwnTable:
    """A table of one's own, of numbers."""
    files = []
    for part, features in (("train", x), ("test", test)):
        if features is not None:
            files.append(folder / f"{part}.npz")
            np.savez(files[-1], X=features, y=features[:, 0])
    more = {"test": files[1]} if len(files) > 1 else {}
    return own.add(name, files[0], folder, regression=True, **more).dataset


SIZES = {"train": 10, "validation": 5, "test": 4}


def test_other_values_of_the_same_sizes_are_other_data(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(30, 3))
    spec = added(tmp_path, x)
    _, first = load_split(spec, tmp_path, **SIZES, seed=0)
    assert added(tmp_path, x) == spec
    assert load_split(spec, tmp_path, **SIZES, seed=1)[1].plain() == first.plain()
    assert first.plain() == {"kind": "table", "name": "own", "sha256": first.sha256}
    x[7, 2] += 1e-9
    assert added(tmp_path, x) == spec
    assert load_split(spec, tmp_path, **SIZES, seed=0)[1].sha256 != first.sha256


@pytest.mark.parametrize("own_test", [False, True])
def test_the_rows_say_which_examples_were_drawn(tmp_path: Path, own_test: bool) -> None:
    x = np.random.default_rng(0).normal(size=(30, 3))
    spec = added(tmp_path, x, test=-x[:8] if own_test else None)
    split, origin = load_split(spec, tmp_path, **SIZES, seed=3)
    table = load_table(spec, tmp_path)
    assert origin.rows is not None
    assert torch.equal(table.x[origin.rows.train], split.train.x)
    assert torch.equal(table.y[origin.rows.validation], split.validation.y)
    tested = table.test_x if own_test else table.x
    assert tested is not None
    assert torch.equal(tested[origin.rows.test], split.test.x)
    assert {part.dtype for part in origin.rows} == {torch.int64}


def test_data_without_a_file_are_known_by_their_arrays(tmp_path: Path) -> None:
    digests = [
        load_split(dataset, tmp_path, **SIZES, seed=0)[1].sha256
        for dataset in (Digits(), Digits(), SyntheticRegression(), SyntheticRegression(seed=1))
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_prepared_data_are_known_by_their_file(tmp_path: Path) -> None:
    spec = Experiment.model_validate({"problem": {"kind": "hyper_representation"}})
    with pytest.raises(DataMissing):
        origin_of(spec.problem, tmp_path)
    digests = []
    for pixel in (0, 0, 1):
        write(tmp_path / "omniglot-28.npz", {"images": np.array([pixel])})
        found = origin_of(spec.problem, tmp_path)
        assert found is not None
        assert (found.kind, found.name, found.rows) == ("omniglot", None, None)
        digests.append(found.sha256)
    assert digests[0] == digests[1] != digests[2]


def test_a_problem_without_data_has_none(tmp_path: Path) -> None:
    assert origin_of(Experiment.model_validate({"problem": {"kind": "quadratic"}}).problem, tmp_path) is None
