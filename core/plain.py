"""Plain JSON data: numbers that JSON does not have, by their names."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

Number = float | Literal["NaN", "Infinity", "-Infinity"]
"""A number, or the name of one that JSON has not."""


NAMES = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def number(value: float) -> Number:
    """The value, or its name where JSON has none for it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def read(value: Any) -> float | None:
    """A number of plain data, or what its name stands for; None: it is something else."""
    if isinstance(value, str):
        return NAMES.get(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number that is larger than any of those
        return math.inf if value > 0 else -math.inf


def paths(part: Any, path: str = "") -> Iterator[str]:
    """Dotted paths to every number in plain data; entries of lists by their place, from 0."""
    if read(part) is not None:
        yield path
        return
    inside = part.items() if isinstance(part, Mapping) else enumerate(part) if isinstance(part, list) else ()
    for name, value in inside:
        yield from paths(value, f"{path}.{name}" if path else str(name))


def data(value: Any, place: str = "") -> Any:
    """The same data with every number in it plain.

    Raises:
        TypeError: something in it is no data; the message says where, from the `place` of the whole on.
    """
    match value:
        case float():
            return number(value)
        case Mapping():
            return {text(str(key)): data(part, _within(place, key)) for key, part in value.items()}
        case list() | tuple():
            return [data(part, _within(place, position)) for position, part in enumerate(value)]
        case str():
            return text(value)
        case int() | None:
            return value
        case _:
            what = f"{place or 'it'} is a {type(value).__name__}"
            raise TypeError(f"{what}: give numbers, text, lists or objects")


def text(value: str) -> str:
    """With what Postgres does not take shown as other characters: NUL, and halves of surrogate pairs."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "backslashreplace").decode()


def _within(place: str, key: object) -> str:
    return f"{place}/{key}" if place else str(key)
