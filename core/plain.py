"""Plain JSON data: numbers that JSON does not have, by their names."""

import math
from collections.abc import Mapping
from typing import Any, Literal

Number = float | Literal["NaN", "Infinity", "-Infinity"]
"""A number, or the name of one that JSON has not."""


def number(value: float) -> Number:
    """The value, or its name where JSON has none for it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def data(value: Any) -> Any:
    """The same data with every number in it plain."""
    match value:
        case float():
            return number(value)
        case Mapping():
            return {str(key): data(part) for key, part in value.items()}
        case list() | tuple():
            return [data(part) for part in value]
        case _:
            return value
