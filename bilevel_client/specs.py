"""Specs in files: JSON or YAML, with single values set from the command line."""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class BadSpec(ValueError):
    """The file, or a value that is set, cannot be read."""


def load(path: Path) -> dict[str, Any]:
    """The spec in a file, JSON if its name ends so, else YAML, of which JSON is a part; `-` is standard input.

    Raises:
        BadSpec: it is not one object in that format.
    """
    try:
        text = sys.stdin.read() if path == Path("-") else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSpec(f"{path} cannot be read: {error}") from error
    spec = _json(text, path) if path.suffix == ".json" else _yaml(text, path)
    if not isinstance(spec, dict):
        raise BadSpec(f"{path}: a spec is an object with fields such as `problem` and `algorithm`")
    try:
        plain: dict[str, Any] = _parse(json.dumps(spec))
    except TypeError as error:
        raise BadSpec(f"{path}: {error}: write dates and the like in quotes") from error
    return plain


def experiment(path: Path, settings: Sequence[str]) -> dict[str, Any]:
    """The experiment in a file, with values set.

    Raises:
        BadSpec: as `load` and `assign`, or the file has a sweep.
    """
    spec = load(path)
    if "base" in spec:
        raise BadSpec(f"{path} is a sweep, for it has a `base`: submit it by `bilevel sweep {path}`")
    return assign(spec, settings)


def assign(spec: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """The spec with values set, each given as `field.field=value`; a value is JSON or else text, and so is any label's.

    Raises:
        BadSpec: a setting is not of that form or leads through a value that has no fields.
    """
    spec = json.loads(json.dumps(spec))
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not equals or not all(path.split(".")):
            raise BadSpec(f"`{setting}`: give a value as `field.field=value`, for example `algorithm.steps=50`")
        *parents, last = path.split(".")
        place: Any = spec
        for parent in parents:
            place = _child(place, parent, setting)
        _put(place, last, value if parents[:1] == ["labels"] else parsed(value), setting)
    return spec


def _child(place: Any, name: str, setting: str) -> Any:
    if isinstance(place, dict):
        return place.setdefault(name, {})
    if isinstance(place, list) and name.isdecimal() and int(name) < len(place):
        return place[int(name)]
    raise BadSpec(f"`{setting}`: there is nothing called `{name}` to set a value in")


def _put(place: Any, name: str, value: Any, setting: str) -> None:
    if isinstance(place, dict):
        place[name] = value
    elif isinstance(place, list) and name.isdecimal() and int(name) < len(place):
        place[int(name)] = value
    else:
        raise BadSpec(f"`{setting}`: there is nothing called `{name}` to set")


def _parse(text: str) -> Any:
    """JSON; NaN and infinities, which cannot be sent as numbers, become text that the service refuses by its place."""
    return json.loads(text, parse_constant=str)


def parsed(text: str) -> Any:
    """A value as one writes it on a command line: JSON, or else the text itself."""
    try:
        return _parse(text)
    except json.JSONDecodeError:
        return text


def _json(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadSpec(f"{path} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error


def _yaml(text: str, path: Path) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads 1e-5 as a number, as YAML 1.2 and JSON do."""

    number = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)[eE][-+]?\d+")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    try:
        return yaml.load(text, Loader)  # a safe loader
    except yaml.YAMLError as error:
        raise BadSpec(f"{path} is not YAML: {error}") from error
