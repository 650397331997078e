from pathlib import Path

import numpy as np
import pytest
import torch

from core.datasets.tables import load_table
from core.errors import DataInvalid, DataMissing
from core.spec import datasets as spec
from core.spec.catalog import KINDS

BUILT_IN = [spec.Digits(), spec.BreastCancer(), spec.Wine(), spec.Diabetes(), spec.SyntheticRegression()]
TABLES = [member() for member in KINDS["dataset"] if issubclass(member, spec.Table)]
FROM_FILES = [table for table in TABLES if table not in (*BUILT_IN, spec.OwnTable())]


def name(dataset: spec.Table) -> str:
    return type(dataset).__name__


def check(dataset: spec.Table, data_dir: Path) -> None:
    table = load_table(dataset, data_dir)  # type: ignore[arg-type]
    assert table.x.shape == (dataset.examples, dataset.features)
    assert table.y.shape == (dataset.examples,)
    assert table.x.dtype in (torch.float32, torch.float64)
    if dataset.classes:
        assert table.y.dtype == torch.int64
        assert table.y.unique().tolist() == list(range(dataset.classes))
    else:
        assert table.y.dtype == table.x.dtype
    if dataset.test_examples:
        assert table.test_x is not None
        assert table.test_y is not None
        assert table.test_x.shape == (dataset.test_examples, dataset.features)
        assert table.test_y.shape == (dataset.test_examples,)
    else:
        assert table.test_x is None
        assert table.test_y is None


@pytest.mark.parametrize("dataset", BUILT_IN, ids=name)
def test_built_in_tables_have_the_sizes_that_specs_are_checked_against(dataset: spec.Table, tmp_path: Path) -> None:
    check(dataset, tmp_path)


@pytest.mark.data
@pytest.mark.parametrize("dataset", FROM_FILES, ids=name)
def test_tables_from_files_have_the_sizes_that_specs_are_checked_against(dataset: spec.Table, data_dir: Path) -> None:
    check(dataset, data_dir)


@pytest.mark.parametrize("dataset", FROM_FILES, ids=name)
def test_a_missing_file_is_an_error(dataset: spec.TableDataset, tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=f"bilevel data prepare {dataset.kind} --download"):
        load_table(dataset, tmp_path)


def test_pixels_of_digits_are_fractions(tmp_path: Path) -> None:
    x = load_table(spec.Digits(), tmp_path).x
    assert (x.min(), x.max()) == (0, 1)


def test_german_credit_from_a_prepared_file(tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (1000, 24)).astype(np.float32)
    y = np.where(np.arange(1000) < 700, -1, 1).astype(np.int8)
    np.savez(tmp_path / "german.npz", german_X=x, german_y=y)
    table = load_table(spec.German(), tmp_path)
    np.testing.assert_array_equal(table.x.numpy(), x)
    np.testing.assert_array_equal(table.y.numpy(), y > 0)


def test_binary_features_are_ones_in_the_listed_places(tmp_path: Path) -> None:
    starts = np.minimum(np.arange(49_750), 2).astype(np.int32)  # one feature in each of the first two rows, none below
    places = np.array([299, 0], dtype=np.uint16)
    y = np.ones(49_749, dtype=np.int8)
    np.savez(tmp_path / "w8a.npz", w8a_indices=places, w8a_indptr=starts, w8a_y=y)
    x = load_table(spec.W8a(), tmp_path).x
    assert x.nonzero().tolist() == [[0, 299], [1, 0]]
    assert x.sum() == 2


def test_indices_that_fit_no_feature_are_refused(tmp_path: Path) -> None:
    starts = np.minimum(np.arange(49_750), 1).astype(np.int32)
    y = np.ones(49_749, dtype=np.int8)
    np.savez(tmp_path / "w8a.npz", w8a_indices=np.array([300]), w8a_indptr=starts, w8a_y=y)
    with pytest.raises(DataInvalid, match="300 features"):
        load_table(spec.W8a(), tmp_path)


def test_housing_keeps_missing_values_and_codes_the_ocean(tmp_path: Path) -> None:
    x = np.ones((20_640, 8))
    x[7, 4] = np.nan
    ocean = (np.arange(20_640) % 5).astype(np.uint8)
    np.savez(
        tmp_path / "housing.npz",
        housing_X=x,
        housing_y=np.full(20_640, 250_000.0),
        housing_ocean=ocean,
        housing_ocean_names=np.array(["a", "b", "c", "d", "e"]),
    )
    table = load_table(spec.Housing(), tmp_path)
    assert table.x.isnan().nonzero().tolist() == [[7, 4]]
    assert (table.x[:, 8:].argmax(1).numpy() == ocean).all()
    assert (table.x[:, 8:].sum(1) == 1).all()
    assert (table.y == 2.5).all()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"magic_X": np.zeros((19_020, 9)), "magic_y": np.zeros(19_020, bool)}, r"magic_X has shape .*10"),
        ({"magic_X": np.zeros((19_020, 10))}, "no array magic_y"),
    ],
)
def test_arrays_that_are_not_in_the_schema_are_refused(
    arrays: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "magic.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataInvalid, match=message):
        load_table(spec.Magic(), tmp_path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "magic.npz"
    np.savez_compressed(path, magic_X=np.random.default_rng(0).random((19_020, 10)), magic_y=np.zeros(19_020, bool))
    content = bytearray(path.read_bytes())
    content[5000:5100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(DataInvalid, match="cannot be read"):
        load_table(spec.Magic(), tmp_path)


@pytest.mark.data
def test_the_missing_values_of_housing(data_dir: Path) -> None:
    table = load_table(spec.Housing(), data_dir)
    assert table.x.isnan().sum(0).tolist() == [0, 0, 0, 0, 207, *[0] * 8]


@pytest.mark.data
def test_mnist_has_its_pixels_and_order(data_dir: Path) -> None:
    table = load_table(spec.Mnist(), data_dir)
    assert (table.x.min(), table.x.max()) == (0, 1)
    assert table.y[:5].tolist() == [5, 0, 4, 1, 9]


@pytest.mark.data
def test_the_usual_number_of_positives(data_dir: Path) -> None:
    assert load_table(spec.A9a(), data_dir).y.sum() == 7841
    assert load_table(spec.W8a(), data_dir).y.sum() == 1479
    assert load_table(spec.Magic(), data_dir).y.sum() == 12332
