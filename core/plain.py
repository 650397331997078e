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


def data(value: Any, place: str = "") -> Any:
    """The same data with every number in it plain.

    Raises:
        TypeError: something in it is no data; the message says where, from the `place` of the whole on.
    """
    match value:
        case float():
            return number(value)
        case Mapping():
            return {str(key): data(part, _within(place, key)) for key, part in value.items()}
        case list() | tuple():
            return [data(part, _within(place, position)) for position, part in enumerate(value)]
        case str() | int() | None:
            return value
        case _:
            what = f"{place or 'it'} is a {type(value).__name__}"
            raise TypeError(f"{what}: give numbers, text, lists or objects")


def _within(place: str, key: object) -> str:
    return f"{place}/{key}" if place else str(key)
