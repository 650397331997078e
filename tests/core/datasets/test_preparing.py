from pathlib import Path

import numpy as np
import pytest

from core.datasets.prepared import content_digest
from core.datasets.preparing import load, prepare
from core.datasets.tables import load_table
from core.errors import DataInvalid
from core.spec.catalog import KINDS, kind_of
from core.spec.datasets import German


def write_german(path: Path, examples: int = 1000) -> Path:
    random = np.random.default_rng(0)
    rows = [" ".join(f"{i}:{x:.4f}" for i, x in enumerate(random.uniform(-1, 1, 24), 1)) for _ in range(examples)]
    path.write_text("".join(f"{'+1' if n % 3 else '-1'} {row}\n" for n, row in enumerate(rows)))
    return path


def test_what_was_prepared_can_be_loaded(tmp_path: Path) -> None:
    made = prepare("german", [write_german(tmp_path / "german.numer_scale")], tmp_path / "data")
    assert made.path == tmp_path / "data" / "german.npz"
    assert not made.published
    table = load_table(German(), tmp_path / "data")
    assert table.y[:4].tolist() == [0, 1, 1, 0]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["german.npz"]


def test_the_same_originals_give_the_same_bytes(tmp_path: Path) -> None:
    original = write_german(tmp_path / "german.numer_scale")
    assert prepare("german", [original], tmp_path).sha256 == prepare("german", [original], tmp_path).sha256


def test_incomplete_originals_leave_what_is_there(tmp_path: Path) -> None:
    good = prepare("german", [write_german(tmp_path / "whole")], tmp_path / "data")
    before = good.path.read_bytes()
    with pytest.raises(DataInvalid, match=r"not the whole of german: german\.npz: array german_X .*\(999, 24\)"):
        prepare("german", [write_german(tmp_path / "part", 999)], tmp_path / "data")
    assert good.path.read_bytes() == before
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["german.npz"]


def test_the_digest_sees_names_types_shapes_and_values() -> None:
    base = {"a": np.arange(6, dtype=np.uint8)}
    others = [
        {"a": np.arange(6, dtype=np.int8)},
        {"a": np.arange(6, dtype=np.uint8).reshape(2, 3)},
        {"a": np.arange(1, 7, dtype=np.uint8)},
    ]
    digests = {content_digest(arrays, ["a"]) for arrays in [base, *others]}
    assert len(digests) == 4
    assert content_digest(base | {"b": np.zeros(1)}, ["a"]) == content_digest(base, ["a"])


@pytest.mark.parametrize("kind", ["german", "housing", "magic"])
@pytest.mark.data
def test_originals_of_the_published_tables_are_recognized(kind: str, data_dir: Path, tmp_path: Path) -> None:
    made = prepare(kind, [ORIGINALS[kind](data_dir, tmp_path / "original")], tmp_path)
    assert made.published
    member = next(member for member in KINDS["dataset"] if kind_of(member) == kind)()
    mine, theirs = load_table(member, tmp_path), load_table(member, data_dir)  # type: ignore[arg-type]
    np.testing.assert_array_equal(mine.x, theirs.x)
    np.testing.assert_array_equal(mine.y, theirs.y)
    load(kind, tmp_path)


def german(data_dir: Path, path: Path) -> Path:
    with np.load(data_dir / "libsvm-a9a-w8a-german.npz") as arrays:
        x, y = arrays["german_X"], arrays["german_y"]
    rows = [" ".join(f"{i}:{v:g}" for i, v in enumerate(row, 1) if v) for row in x]
    path.write_text("".join(f"{sign:+d} {row}\n" for sign, row in zip(y, rows, strict=True)))
    return path


def housing(data_dir: Path, path: Path) -> Path:
    with np.load(data_dir / "tabular-housing-magic04.npz") as arrays:
        names, ocean = arrays["housing_columns"], arrays["housing_ocean_names"][arrays["housing_ocean"]]
        x, y = arrays["housing_X"].tolist(), arrays["housing_y"].tolist()
    lines = [",".join((*names, "median_house_value", "ocean_proximity"))]
    for row, price, place in zip(x, y, ocean, strict=True):
        lines.append(",".join(["" if v != v else repr(v) for v in row] + [repr(price), place]))
    path.write_text("\n".join(lines))
    return path


def magic(data_dir: Path, path: Path) -> Path:
    with np.load(data_dir / "tabular-housing-magic04.npz") as arrays:
        x, y = arrays["magic_X"], arrays["magic_y"]
    path.write_text("".join(",".join(map(str, row)) + (",g\n" if g else ",h\n") for row, g in zip(x, y, strict=True)))
    return path


ORIGINALS = {"german": german, "housing": housing, "magic": magic}
