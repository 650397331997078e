"""Grids of values for the fields of an experiment: their combinations, and which of them are not possible."""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from pydantic import JsonValue, ValidationError
from pydantic_core import PydanticCustomError

from core.spec.base import refuse
from core.spec.experiment import Experiment
from core.spec.paths import fields, meant, near, placed, shortest

LONGEST_VALUE = 60
"""Characters of a value in a text."""


class Choice(NamedTuple):
    """A value of the grid."""

    path: str
    """The field, from the root."""
    pointer: str
    """Where the value stands in the sweep."""
    value: JsonValue


class Combination(NamedTuple):
    """A value for each field, and what becomes of the base with them."""

    choices: tuple[Choice, ...]
    spec: dict[str, Any]

    @property
    def parameters(self) -> dict[str, Any]:
        """Field -> value."""
        return {choice.path: choice.value for choice in self.choices}


def axes(
    base: Mapping[str, Any], grid: Mapping[str, Sequence[JsonValue]], canonical: Mapping[str, Any]
) -> list[list[Choice]]:
    """The values of each field of the grid, under its path from the root.

    Args:
        base: what the values are set in.
        grid: path, or ending of a path, -> values. A field is the base's, or one of an object among the values.
        canonical: the base with every default written out.

    Raises:
        PydanticCustomError: a path is no field's or several fields', or a value is there twice.
    """
    known = list(fields(canonical))
    brought = [] if all(meant(given, known) for given in grid) else _brought(base, grid, canonical, known)
    places: dict[str, str] = {}
    found = []
    for given, values in grid.items():
        pointer = f"/grid/{_escape(given)}"
        path = _resolved(given, known if meant(given, known) else known + brought, pointer)
        if path in places:
            refuse(pointer, f"This is the same field as `{places[path]}`: put all its values into one list")
        places[path] = given
        found.append([Choice(path, f"{pointer}/{index}", value) for index, value in enumerate(values)])
        _check_values(found[-1])
    return found


def combinations(
    base: Mapping[str, Any], grid: Sequence[Sequence[Choice]], canonical: Mapping[str, Any]
) -> list[Combination]:
    """Every combination of values, the last field varying fastest.

    Raises:
        PydanticCustomError: one is not a possible experiment; `pointer` is the value that is to blame, if it is one
            alone.
    """
    found = [Combination(choices, _combined(base, choices, canonical)) for choices in itertools.product(*grid)]
    errors = [_error(combination.spec) for combination in found]
    pairs = list(zip(found, errors, strict=True))
    possible = {choice.pointer for combination, error in pairs if error is None for choice in combination.choices}
    for combination, error in pairs:
        if error is not None:
            suspects = [choice for choice in combination.choices if choice.pointer not in possible]
            blamed = [choice for choice in suspects if _error(_combined(base, [choice], canonical)) is not None]
            _refuse_member(blamed[0].pointer if len(blamed) == 1 else "/grid", combination, error)
    return found


def described(parameters: Mapping[str, Any]) -> str:
    """The values by the shortest names of their fields: `steps=4, hypergradient=reverse, seed=1`."""
    return ", ".join(f"{shortest(path, list(parameters))}={_shown(value)}" for path, value in parameters.items())


def _brought(
    base: Mapping[str, Any], grid: Mapping[str, Sequence[JsonValue]], canonical: Mapping[str, Any], known: list[str]
) -> list[str]:
    """Fields that the base has not, as it has the known ones, of objects among the values."""
    objects = [
        placed(base, path, value, canonical)
        for given, values in grid.items()
        for path in meant(given, known)
        for value in values
        if isinstance(value, Mapping)
    ]
    found = dict.fromkeys(field for spec in objects for field in fields(_written_out(spec)))
    return [field for field in found if field not in known]


def _resolved(given: str, known: Sequence[str], pointer: str) -> str:
    """The path from the root of the field that is meant."""
    found = meant(given, known)
    if len(found) > 1:
        refuse(pointer, f"Several fields of the base end in `{given}`: give one of {_listed(found)}")
    if not found:
        refuse(pointer, f"The base has no field `{given}`: use {_listed(near(given, known))}")
    if found[0] == "seed":
        refuse(pointer, "Seeds are no part of the grid: give them as `seeds`")
    if found[0] == "name":
        refuse(pointer, "Members are named after the sweep and their values: give the sweep a `name`")
    return found[0]


def _combined(base: Mapping[str, Any], choices: Sequence[Choice], canonical: Mapping[str, Any]) -> dict[str, Any]:
    """The base with the values set; objects before the fields in them, which see the defaults of these objects."""
    spec = dict(base)
    for choice in sorted(choices, key=lambda choice: choice.path.count(".")):
        inside = any(choice.path.startswith(f"{other.path}.") for other in choices)
        spec = placed(spec, choice.path, choice.value, _written_out(spec) if inside else canonical)
    return spec


def _written_out(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """With every default; empty where it is not possible so far, which the whole may be."""
    try:
        return Experiment.model_validate(spec).canonical()
    except ValidationError:
        return {}


def _check_values(axis: Sequence[Choice]) -> None:
    seen: set[str] = set()
    for choice in axis:
        value = json.dumps(_number(choice.value), sort_keys=True)
        if value in seen:
            refuse(choice.pointer, f"The value {_shown(choice.value)} is there already: leave it out")
        seen.add(value)


def _number(value: JsonValue) -> JsonValue:
    """4.0 is the number 4 in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _error(spec: Mapping[str, Any]) -> ValidationError | None:
    try:
        Experiment.model_validate(spec)
    except ValidationError as error:
        return error
    return None


def _refuse_member(pointer: str, combination: Combination, error: ValidationError) -> NoReturn:
    """Refuses with the error that the member would be refused with, which `ctx` holds for those who say it better."""
    first = error.errors()[0]
    place = first.get("ctx", {}).get("pointer") or "".join(f"/{part}" for part in first["loc"])
    facts = {
        "pointer": pointer,
        "combination": described(combination.parameters),
        "detail": f"{place}: {first['msg']}",
        "error": first,
        "spec": combination.spec,
    }
    raise PydanticCustomError("impossible_member", "{combination} is not possible: {detail}", facts)


def _shown(value: Any) -> str:
    """Text without quotes, an object by its kind, `adam(rate=0.1)`, anything else as JSON; cut short."""
    match value:
        case str():
            text = value
        case {"kind": str(kind), **rest}:
            inside = ", ".join(f"{name}={_shown(part)}" for name, part in rest.items())
            text = f"{kind}({inside})" if inside else kind
        case _:
            text = json.dumps(value, ensure_ascii=False)
    text = text.encode(errors="backslashreplace").decode()  # half of a surrogate pair cannot be sent
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _listed(paths: Sequence[str]) -> str:
    quoted = [f"`{path}`" for path in paths]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
