import json
import math

from core.outcome import json_valid


def test_numbers_that_json_does_not_have_become_strings() -> None:
    data = {"a": [math.nan, math.inf, 1.5], "b": {"c": (-math.inf, 2, True, None, "x")}}
    assert json_valid(data) == {"a": ["NaN", "Infinity", 1.5], "b": {"c": ["-Infinity", 2, True, None, "x"]}}
    json.dumps(json_valid(data), allow_nan=False)
