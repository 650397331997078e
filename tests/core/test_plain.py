import json
import math

import numpy as np
import pytest
import torch

from core import plain


def test_numbers_that_json_does_not_have_become_strings() -> None:
    data = {"a": [math.nan, math.inf, 1.5], "b": {"c": (-math.inf, 2, True, None, "x")}}
    assert plain.data(data) == {"a": ["NaN", "Infinity", 1.5], "b": {"c": ["-Infinity", 2, True, None, "x"]}}
    json.dumps(plain.data(data), allow_nan=False)


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ({"x": torch.ones(3)}, "report/x is a Tensor: give numbers, text, lists or objects"),
        ({"rows": [1, {"found": {2}}]}, "report/rows/1/found is a set: "),
        ({"x": np.float32(1)}, "report/x is a float32: "),
    ],
)
def test_what_is_no_data_is_named_by_its_place(report: object, said: str) -> None:
    with pytest.raises(TypeError, match=f"^{said}"):
        plain.data({"report": report})


def test_numbers_by_their_paths() -> None:
    found = {"a": {"b": 1, "c": "NaN", "d": "text", "e": None, "f": True}, "g": [0.5, [2.0]], "h": {}, "i": "-Infinity"}
    assert list(plain.paths(found)) == ["a.b", "a.c", "g.0", "g.1.0", "i"]
    assert plain.read("-Infinity") == -math.inf
    assert plain.read(2) == 2.0
    assert [plain.read(each) for each in (True, None, "3", [1.0], {})] == [None] * 5
    assert plain.read(-(10**400)) == -math.inf


def test_text_that_no_database_keeps_is_replaced() -> None:
    assert plain.data({"a\0": ["x\0y", "\ud800z", "\u00e4"]}) == {"a\ufffd": ["x\ufffdy", "\\ud800z", "\u00e4"]}
