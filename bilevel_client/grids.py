"""Grids and seeds as one writes them on a command line: `steps=1,4,16`, `seed=0..4`."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bilevel_client.specs import BadSpec, assign, parsed

MOST = 1000
"""Values of a field, at most: as many as a sweep may have members."""


def sweep(
    content: Mapping[str, Any],
    *,
    settings: Sequence[str] = (),
    grid: Sequence[str] = (),
    seeds: str | None = None,
    name: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The sweep of a file and what the command line adds to it.

    Args:
        content: a whole sweep, which has a `base`, or an experiment, which becomes the base.
        settings: fields of the base, each `field.field=value`.
        grid: values of fields, each `field=value,value`; they take the place of the file's.
        seeds: such as `0..4` or `0,7`.
        name: of the sweep; by default that of the file.
        labels: of the sweep, beside those of a file that has a whole one.

    Raises:
        BadSpec: something is not of that form.
    """
    own = {**_named(content["base"]), **content} if "base" in content else {**_named(content), "base": dict(content)}
    if not isinstance(own["base"], dict) or not isinstance(own.get("grid", {}), dict):
        raise BadSpec("a sweep is an object with `base`, an experiment, and `grid`, an object of lists")
    own["base"] = assign(own["base"], settings)
    if grid:
        own["grid"] = {**own.get("grid", {}), **axes(grid)}
    if seeds is not None:
        own["seeds"] = integers(seeds)
    if own.get("seeds") and (unheard := [each for each in settings if each.partition("=")[0] == "seed"]):
        raise BadSpec(f"`{unheard[0]}`: the sweep has seeds of its own: use --seeds instead")
    if labels:
        own["labels"] = {**own.get("labels", {}), **labels}
    return own if name is None else {**own, "name": name}


def axes(settings: Sequence[str]) -> dict[str, list[Any]]:
    """Values by field, each setting given as `field=value,value`; `a..b` are whole numbers, both included.

    A value is JSON or else text; commas inside brackets and quotes are the value's own. A single JSON list is the list
    of the values.
    """
    found: dict[str, list[Any]] = {}
    for setting in settings:
        field, equals, text = setting.partition("=")
        if not equals or not field or not text:
            raise BadSpec(f"`{setting}`: give values as `field=value,value`, for example `algorithm.steps=1,4,16`")
        if field in found:
            raise BadSpec(f"`{setting}`: the values of `{field}` are given already: put them all after one `{field}=`")
        found[field] = _values(text, setting)
    return found


def integers(text: str) -> list[int]:
    """Whole numbers, such as `0..4` or `0,7`."""
    found = _values(text, text)
    if not all(type(each) is int for each in found):
        raise BadSpec(f"`{text}`: seeds are whole numbers, such as `0..4` or `0,7`")
    return found


def _named(experiment: Any) -> dict[str, Any]:
    """The name that a sweep has from its base, where it has none of its own."""
    return {"name": experiment["name"]} if isinstance(experiment, Mapping) and "name" in experiment else {}


def _values(text: str, setting: str) -> list[Any]:
    pieces = list(_pieces(text))
    if len(pieces) == 1 and isinstance(listed := parsed(pieces[0].strip()), list):
        found = listed
    else:
        found = [each for piece in pieces for each in _piece(piece.strip(), setting)]
    if len(found) > MOST:
        raise BadSpec(f"`{setting}`: {len(found)} values, of at most {MOST}")
    return found


def _piece(piece: str, setting: str) -> list[Any]:
    """A value, or those of a range."""
    if not piece:
        raise BadSpec(f"`{setting}`: a value is missing beside a comma")
    ends = re.fullmatch(r"(-?\d{1,18})\.\.(-?\d{1,18})", piece)
    if ends is None:
        return [parsed(piece)]
    first, last = map(int, ends.groups())
    if not first <= last < first + MOST:
        raise BadSpec(f"`{piece}`: a range goes up and has at most {MOST} values")
    return list(range(first, last + 1))


def _pieces(text: str) -> Iterator[str]:
    """The parts between commas that are outside brackets and quotes."""
    depth, quoted, escaped, begin = 0, False, False, 0
    for place, character in enumerate(text):
        if quoted:
            quoted = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            quoted = True
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "," and depth <= 0:
            yield text[begin:place]
            begin = place + 1
    yield text[begin:]


def shown(setting: Any) -> str:
    """A value as short as it can be read: an object by its kind, `adam(rate=0.1)`."""
    match setting:
        case str():
            return setting
        case {"kind": str(kind), **rest}:
            inside = ", ".join(f"{name}={shown(part)}" for name, part in rest.items())
            return f"{kind}({inside})" if inside else kind
        case _:
            return json.dumps(setting, ensure_ascii=False)
