"""Tables of one's own: from files to what an experiment reads."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.datasets import finding, own, own_files
from core.datasets.tables import load_table
from core.errors import DataInvalid, DataMissing
from core.spec.datasets import OwnTable

CSV = "\N{ZERO WIDTH NO-BREAK SPACE}a,b,kind\n1,2.5,ham\n-3,,spam\n\n1e2, 7 ,eggs\n0,0,ham\n"


def written(folder: Path, text: str, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_file_of_classes(tmp_path: Path) -> None:
    made = own.add("mine", written(tmp_path, CSV), tmp_path)
    assert made.classes == ["eggs", "ham", "spam"]
    assert made.dataset == OwnTable(name="mine", rows=4, columns=2, labels=3)
    table = load_table(made.dataset, tmp_path)
    assert table.x.dtype == torch.float64
    assert torch.equal(
        table.x.nan_to_num(-1), torch.tensor([[1, 2.5], [-3, -1], [100, 7], [0, 0]], dtype=torch.float64)
    )
    assert table.y.tolist() == [1, 2, 0, 1]
    assert table.test_x is None
    assert [own_files.facts(name, tmp_path) for name in own_files.added(tmp_path)] == [made.dataset]
    finding.require(made.dataset, tmp_path)


def test_classes_that_are_numbers_are_in_their_order(tmp_path: Path) -> None:
    made = own.add("mine", written(tmp_path, "t,x\n10,0\n9,0\n-1,0\n10,1\n"), tmp_path, target="t")
    assert made.classes == ["-1", "9", "10"]
    assert load_table(made.dataset, tmp_path).y.tolist() == [2, 1, 0, 2]


def test_a_target_that_is_a_number_and_a_test_set(tmp_path: Path) -> None:
    train, test = written(tmp_path, "x,y\n1,0.5\n2,0.25\n3,1\n"), written(tmp_path, "x,y\n7,-2\n", "test.csv")
    made = own.add("mine", train, tmp_path, test=test, regression=True)
    assert made == own.Added(OwnTable(name="mine", rows=3, columns=1, labels=0, test_rows=1), ())
    table = load_table(made.dataset, tmp_path)
    assert table.y.tolist() == [0.5, 0.25, 1.0]
    assert table.test_x is not None
    assert table.test_y is not None
    assert (table.test_x.tolist(), table.test_y.tolist()) == ([[7.0]], [-2.0])


def test_classes_of_a_test_set_are_the_same(tmp_path: Path) -> None:
    train, test = written(tmp_path, "x,y\n1,b\n2,a\n3,b\n"), written(tmp_path, "x,y\n7,c\n8,a\n", "test.csv")
    table = load_table(own.add("mine", train, tmp_path, test=test).dataset, tmp_path)
    assert table.y.tolist() == [1, 0, 1]
    assert table.test_y is not None
    assert table.test_y.tolist() == [2, 0]


def test_a_validation_set_of_its_own(tmp_path: Path) -> None:
    train, trusted = written(tmp_path, "x,z,y\n1,5,b\n2,5,a\n3,5,b\n"), written(tmp_path, "x,z,y\n7,1,c\n", "clean.csv")
    made = own.add("mine", train, tmp_path, validation=trusted)
    assert made == own.Added(OwnTable(name="mine", rows=3, columns=2, labels=3, validation_rows=1), ["a", "b", "c"])
    table = load_table(made.dataset, tmp_path)
    assert table.y.tolist() == [1, 0, 1]
    assert table.test_x is None
    assert table.validation_x is not None
    assert table.validation_y is not None
    assert (table.validation_x.tolist(), table.validation_y.tolist()) == ([[7.0, 1.0]], [2])
    for part in ("validation", "test"):
        with pytest.raises(DataInvalid, match=r"empty.csv has no examples: leave it out"):
            own.add("mine", train, tmp_path, **{part: written(tmp_path, "x,z,y\n", "empty.csv")})
        with pytest.raises(DataInvalid, match=r"other.csv has the column `z` where .*mine.csv has `x`"):
            own.add("mine", train, tmp_path, **{part: written(tmp_path, "z,x,y\n1,7,c\n", "other.csv")})


def test_a_numpy_archive(tmp_path: Path) -> None:
    x, y = np.arange(12, dtype=np.float32).reshape(6, 2), np.array([0, 1, 1, 0, 2, 2], dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", X=x, y=y)
    made = own.add("mine", tmp_path / "mine.npz", tmp_path)
    assert made.dataset == OwnTable(name="mine", rows=6, columns=2, labels=3)
    table = load_table(made.dataset, tmp_path)
    assert np.array_equal(table.x.numpy(), x)
    assert table.y.tolist() == y.tolist()


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\n1\n", {}, "line 2: 1 cells, not 2"),
        ("a,b,c\n1,x,0\n1,2,1\n", {}, "line 2, column `b`: `x` is not a number: write classes of a feature"),
        ("a,b\n1,0\n2,\n3,1\n", {}, "line 3: no target in column `b`"),
        ("a,b\n1,0\n2,1\n3,1\n", {"target": "c"}, "no column `c`: its header has a, b"),
        ("a,b\n1,0\n2,0\n3,0\n", {}, "1 different values, and classes are 2 to 1000: give --regression"),
        ("a,b\n1,x\n2,0\n3,0\n", {"regression": True}, "a target is not a number .* leave out --regression"),
        ("a,b\n1,inf\n2,0\n3,0\n", {"regression": True}, "the target of example 0 .* is not finite"),
        ("a,b\ninf,0\n2,1\n3,0\n", {}, "example 0, feature 0 .* is infinite"),
        ("z,a,b\n3,,0\n4,,1\n5,,0\n", {}, "feature 1 .* has no value"),
        ("a,b\n1,0\n2,1\n", {}, "has 2 rows, 1 features"),
        ("", {}, "is empty"),
        ("a,b\n\n1,0\n\n2\n", {}, "line 5: 1 cells, not 2"),
        ('a,b\n"1",0\n"2\n",1,1\n', {}, "line 4: 3 cells, not 2"),
        ("b\n0\n1\n0\n", {}, "has 3 rows, 0 features"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, text: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataInvalid, match=message):
        own.add("mine", written(tmp_path, text), tmp_path, **options)
    assert not (tmp_path / "tables").exists()


def test_test_sets_and_archives_that_cannot_be_used(tmp_path: Path) -> None:
    train, test = written(tmp_path, "x,y\n1,b\n2,a\n3,b\n"), written(tmp_path, "x,z,y\n7,1,a\n", "test.csv")
    with pytest.raises(DataInvalid, match=r"has 2 features, .* has 1"):
        own.add("mine", train, tmp_path, test=test)
    np.savez(tmp_path / "few.npz", X=np.zeros((3, 2)), y=np.zeros(2))
    with pytest.raises(DataInvalid, match="X has 3 rows of float64, y 2"):
        own.add("mine", tmp_path / "few.npz", tmp_path)
    np.savez(tmp_path / "other.npz", x=np.zeros((3, 2)), y=np.zeros(3))
    with pytest.raises(DataInvalid, match="no array X"):
        own.add("mine", tmp_path / "other.npz", tmp_path)


def test_what_is_not_there_or_another_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"no table `mine` .* add it with `bilevel data add mine FILE.csv`; .* none"):
        finding.require(OwnTable(), tmp_path)
    made = own.add("yours", written(tmp_path, CSV), tmp_path)
    with pytest.raises(DataMissing, match="there are: `yours`"):
        finding.require(OwnTable(), tmp_path)
    other = made.dataset.model_copy(update={"rows": 5})
    for read in (finding.require, load_table):
        with pytest.raises(DataInvalid, match=r'another than the spec says: write .*"rows":4,"columns":2,"labels":3'):
            read(other, tmp_path)
    own_files.facts_path("yours", tmp_path).write_text("{")
    with pytest.raises(DataInvalid, match="add the table again"):
        finding.require(made.dataset, tmp_path)


def test_added_again_it_is_replaced(tmp_path: Path) -> None:
    own.add("mine", written(tmp_path, CSV), tmp_path)
    made = own.add("mine", written(tmp_path, "x,y\n1,0\n2,1\n3,0\n"), tmp_path)
    assert [own_files.facts(name, tmp_path) for name in own_files.added(tmp_path)] == [made.dataset]
    assert len(load_table(made.dataset, tmp_path).x) == 3
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == ["mine.json", "mine.npz"]
