import json
import math

from core import plain


def test_numbers_that_json_does_not_have_become_strings() -> None:
    data = {"a": [math.nan, math.inf, 1.5], "b": {"c": (-math.inf, 2, True, None, "x")}}
    assert plain.data(data) == {"a": ["NaN", "Infinity", 1.5], "b": {"c": ["-Infinity", 2, True, None, "x"]}}
    json.dumps(plain.data(data), allow_nan=False)
