import pytest
import torch

from core.datasets.splits import Split, convert, split_table, standardize
from core.datasets.table import Table


def numbered(examples: int, test: int = 0) -> Table:
    """A table whose features say which example it is; the own test set is numbered from 1000."""
    x = torch.arange(examples, dtype=torch.float64)[:, None]
    own = torch.arange(1000, 1000 + test, dtype=torch.float64)[:, None]
    return Table(x, x[:, 0].long(), own, own[:, 0].long()) if test else Table(x, x[:, 0].long())


def ids(split: Split) -> list[list[int]]:
    return [part.y.tolist() for part in split]


def test_sets_are_disjoint_and_of_the_sizes_asked_for() -> None:
    split = split_table(numbered(100), train=50, validation=20, test=25, seed=3)
    train, validation, test = ids(split)
    assert (len(train), len(validation), len(test)) == (50, 20, 25)
    assert len({*train, *validation, *test}) == 95
    assert all((part.x[:, 0] == part.y).all() for part in split)


def test_the_test_set_comes_from_the_data_sets_own() -> None:
    train, validation, test = ids(split_table(numbered(30, test=12), train=20, validation=10, test=5, seed=0))
    assert {*train, *validation} == set(range(30))
    assert len(set(test)) == 5
    assert min(test) >= 1000


@pytest.mark.parametrize("test", [0, 12])
def test_the_validation_set_comes_from_the_data_sets_own(test: int) -> None:
    plain = numbered(30, test=test)
    own = torch.arange(2000, 2008, dtype=torch.float64)[:, None]
    table = plain._replace(validation_x=own, validation_y=own[:, 0].long())
    split = split_table(table, train=20, validation=6, test=5, seed=0)
    train, validation, tested = ids(split)
    assert all((part.x[:, 0] == part.y).all() for part in split)
    assert train == ids(split_table(plain, train=20, validation=2, test=5, seed=0))[0]
    assert len({*train}) == 20
    assert max(train) < 1000
    assert len({*validation}) == 6
    assert min(validation) >= 2000
    assert len({*tested}) == 5
    assert {*tested} <= ({*range(1000, 1012)} if test else {*range(30)} - {*train})
    with pytest.raises(ValueError, match="30 examples and 8 validation examples"):
        split_table(table, train=20, validation=9, test=5, seed=0)


def test_the_split_is_a_function_of_the_seed() -> None:
    def split(seed: int) -> list[list[int]]:
        return ids(split_table(numbered(60, test=20), train=20, validation=20, test=10, seed=seed))

    assert split(1) == split(1)
    assert all(mine != other for mine, other in zip(split(1), split(2), strict=True))


def test_a_smaller_test_set_leaves_the_others_alone() -> None:
    large = ids(split_table(numbered(100), train=30, validation=30, test=40, seed=0))
    small = ids(split_table(numbered(100), train=30, validation=30, test=10, seed=0))
    assert large[:2] == small[:2]
    assert large[2][:10] == small[2]


def test_examples_are_drawn_uniformly() -> None:
    counts = torch.zeros(10)
    for seed in range(2000):
        counts[split_table(numbered(10), train=3, validation=1, test=1, seed=seed).train.y] += 1
    expected = 2000 * 3 / 10
    chi_square = ((counts - expected) ** 2 / (expected * 0.7)).sum() * 0.9  # drawn without replacement
    assert chi_square < 27.9  # 0.1 % quantile of chi-square with 9 degrees of freedom


@pytest.mark.parametrize(
    ("table", "sizes"),
    [
        (numbered(10), {"train": 6, "validation": 3, "test": 2}),
        (numbered(10, test=3), {"train": 6, "validation": 3, "test": 4}),
        (numbered(10, test=3), {"train": 8, "validation": 3, "test": 1}),
        (numbered(10), {"train": 6, "validation": 0, "test": 2}),
    ],
)
def test_sizes_that_cannot_be_are_refused(table: Table, sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="the data set has 10 examples"):
        split_table(table, seed=0, **sizes)


def test_missing_values_become_the_training_sets_mean() -> None:
    table = numbered(40)
    table.x[::3] = torch.nan
    split = split_table(table, train=20, validation=10, test=10, seed=0)
    known = [float(y) for y in split.train.y if y % 3]
    mean = sum(known) / len(known)
    for part in split:
        expected = torch.where(part.y % 3 == 0, mean, part.y.double())
        torch.testing.assert_close(part.x[:, 0], expected)


def test_a_feature_without_values_in_the_training_set_becomes_0() -> None:
    table = numbered(40)
    drawn = split_table(table, train=20, validation=10, test=10, seed=0)
    table.x[drawn.train.y] = table.x[drawn.test.y[0]] = torch.nan
    train, validation, test = split_table(table, train=20, validation=10, test=10, seed=0)
    assert (train.x == 0).all()
    assert (validation.x[:, 0] == validation.y).all()
    assert test.x[0] == 0
    assert (test.x[1:, 0] == test.y[1:]).all()


def test_standardization_uses_the_training_set_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 4, dtype=torch.float64, generator=generator) * torch.tensor([1.0, 5.0, 1e-3, 0.0]) + 7
    table = Table(x, x[:, 0])
    split = split_table(table, train=100, validation=100, test=100, seed=0)
    scaled = standardize(split)
    torch.testing.assert_close(scaled.train.x.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(scaled.train.x[:, :3].std(0, correction=0), torch.ones(3, dtype=torch.float64))
    assert scaled.validation.x[:, :3].mean(0).abs().min() > 1e-3
    assert all((part.x[:, 3] == 0).all() for part in scaled)
    mean, deviation = split.train.x[:, 1].mean(), split.train.x[:, 1].std(correction=0)
    torch.testing.assert_close(scaled.test.x[:, 1], (split.test.x[:, 1] - mean) / deviation)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_feature_becomes_zero_in_either_precision(dtype: torch.dtype) -> None:
    x = torch.full((90, 1), 0.1, dtype=dtype)
    split = split_table(Table(x, x[:, 0]), train=30, validation=30, test=30, seed=0)
    assert standardize(split).test.x.abs().max() == 0


def test_conversion_keeps_classes_integer() -> None:
    split = split_table(numbered(30), train=10, validation=10, test=10, seed=0)
    converted = convert(split, dtype=torch.float32)
    assert all(part.x.dtype == torch.float32 and part.y.dtype == torch.int64 for part in converted)
    numbers = convert(Split(*(part._replace(y=part.x[:, 0]) for part in split)), dtype=torch.float32)
    assert all(part.y.dtype == torch.float32 for part in numbers)
