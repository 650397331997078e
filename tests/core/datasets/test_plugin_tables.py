"""What the code of somebody's data set gives is held to its spec class; what is wrong is named, with the remedy."""

import re
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from core.datasets.table import Table
from core.datasets.tables import load_table
from core.errors import BilevelError, DataInvalid, DataMissing
from core.spec.plugins import PluginTable

X = torch.arange(12.0).reshape(6, 2)
Y = torch.tensor([0, 1, 2, 0, 1, 2])
INFINITE = X.clone().index_fill(0, torch.tensor([4]), float("inf"))
NUMBERS = torch.linspace(-1, 1, 6)


class Mine(PluginTable):
    build = "mytab.load:load"
    source = "mine"
    examples, features, classes = 6, 2, 3
    kind: Literal["mine"] = "mine"


class MyNumbers(Mine):
    classes = 0


class WithTests(Mine):
    test_examples = 4


def given(dataset: PluginTable, table: Any, monkeypatch: pytest.MonkeyPatch) -> Table:
    def code(spec: PluginTable, data_dir: Path) -> Any:
        if isinstance(table, Exception):
            raise table
        return table

    monkeypatch.setattr("core.datasets.plugin_tables.code_of", lambda spec: code)
    return load_table(dataset, Path("nowhere"))


@pytest.mark.parametrize(
    ("dataset", "table", "parts"),
    [
        (Mine(), Table(X, 2 * (Y % 2) - 1), ["y[0] = -1", "from 0 to 2", "classes = 3", "torch.unique"]),
        (Mine(), Table(X, Y + 1), ["y[2] = 3", "classes = 3"]),
        (Mine(), Table(X, Y.double()), ["y[0] = 0.0", "float64", "whole numbers"]),
        (Mine(), Table(X, Y > 0), ["y[0] = False", "whole numbers"]),
        (Mine(), Table(X[:5], Y[:5]), ["Mine says examples = 6", "write examples = 5"]),
        (Mine(), Table(X[:, :1], Y), ["Mine says features = 2", "write features = 1"]),
        (Mine(), Table(X, Y[:5]), ["[6, 2]", "[5]"]),
        (Mine(), Table(X, Y[:, None]), ["[6, 1]"]),
        (Mine(), Table(INFINITE, Y), ["x[4, 0] = inf"]),
        (Mine(), Table(X.log(), Y), ["x[0, 0] = -inf"]),
        (Mine(), Table(X * torch.tensor([1.0, float("nan")]), Y), ["x[:, 1]", "leave the feature out"]),
        (Mine(), Table(X.long(), Y), ["x of torch.int64"]),
        (Mine(), Table(X.numpy(), Y), ["ndarray as x", "torch.Tensor"]),
        (Mine(), (X, Y), ["tuple", "Table(x, y)"]),
        (Mine(), Table(X, Y, X, Y), ["test_x", "test_examples = 0", "write test_examples = 6"]),
        (Mine(), Table(X, Y, None, None, X, Y), ["validation_x", "validation_examples = 0"]),
        (WithTests(), Table(X, Y), ["NoneType as test_x"]),
        (WithTests(), Table(X, Y, X[:4], Y[:4] - 1), ["test_y[0] = -1", "torch.unique(test_y"]),
        (MyNumbers(), Table(X, NUMBERS.log()), ["y[0] = nan", "leave the row out"]),
        (MyNumbers(), Table(X, Y), ["y of torch.int64", "classes = ..."]),
        (Mine(), PermissionError(13, "Permission denied", "secret.csv"), ["secret.csv", "Permission denied"]),
    ],
)
def test_another_table_than_its_class_says_is_refused_with_the_remedy(
    dataset: PluginTable, table: Any, parts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataInvalid) as caught:
        given(dataset, table, monkeypatch)
    assert all(part in str(caught.value) for part in ["mytab.load:load", *parts]), caught.value


def test_a_file_that_is_not_there_is_the_users_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataMissing, match=re.escape("mytab.load:load")) as caught:
        given(Mine(), FileNotFoundError(2, "No such file or directory", "mine.csv"), monkeypatch)
    assert "mine.csv" in str(caught.value)
    assert isinstance(caught.value, BilevelError)
    assert caught.value.category == "user"


def test_what_is_right_goes_through_with_missing_values_and_class_numbers_as_int64(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = X.clone()
    x[3, 1] = float("nan")
    table = given(Mine(), Table(x, Y.to(torch.int32)), monkeypatch)
    assert table.x is x
    assert table.y.dtype == torch.int64
    assert table.test_x is None
    assert given(WithTests(), Table(X, Y, X[:4], Y[:4]), monkeypatch).test_y is not None
    assert given(MyNumbers(), Table(X, NUMBERS), monkeypatch).y is NUMBERS
