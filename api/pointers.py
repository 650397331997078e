"""From pydantic's errors to what a person can mend: a JSON pointer into the body and what is allowed there."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypedDict

from api import hints
from core.spec import Experiment, Sweep
from core.spec.base import Spec

Node = Mapping[str, Any]
"""A piece of JSON Schema."""


class FieldError(TypedDict, total=False):
    """One field that is wrong."""

    pointer: str
    """JSON pointer (RFC 6901) into the body."""
    parameter: str
    """Name of the query parameter or header, where it is none of the body's fields."""
    detail: str
    """What is wrong and what is allowed."""


def describe(
    error: Mapping[str, Any], body: object, parameters: Sequence[str] = (), spec: type[Spec] = Experiment
) -> FieldError:
    """An entry of a problem's `errors` for one error of pydantic's.

    Args:
        error: as `ValidationError.errors()` gives it, `loc` beginning with where the value came from.
        body: the submitted JSON, to tell the fields in `loc` from the tags of unions.
        parameters: names of the query parameters that there are.
        spec: what the body has to be.
    """
    source, *location = error["loc"]
    if source != "body":
        parameter = str(location[0]) if location else str(source)
        return {"parameter": parameter, "detail": _detail(error, None, parameters)}
    if error["type"] == "impossible":
        return {"pointer": _in_base(location, error["ctx"]["pointer"]), "detail": error["msg"]}
    if error["type"] == "impossible_member":
        return {"pointer": error["ctx"]["pointer"], "detail": _member(error["ctx"])}
    path = _path(location, body)
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        path.append("kind")
    allowed = _allowed(spec, location) if error["type"] == "extra_forbidden" else ()
    detail = _detail(error, spec, allowed, ".".join(map(str, path)))
    return {"pointer": "".join(f"/{_escape(part)}" for part in path), "detail": detail}


def _in_base(location: Sequence[str | int], pointer: str) -> str:
    """A check of a whole experiment points from its root, which in a sweep is its base."""
    return f"/base{pointer}" if location[:1] == ["base"] else pointer


def _member(context: Mapping[str, Any]) -> str:
    """Why a combination of a sweep is not possible: what would be said of that experiment alone."""
    error = context["error"]
    found = describe({**error, "loc": ("body", *error["loc"])}, context["spec"])
    return f"{context['combination']} is not possible: {found['pointer']}: {found['detail']}"


def _detail(error: Mapping[str, Any], spec: type[Spec] | None, allowed: Sequence[str], path: str = "") -> str:
    """What is wrong and what is allowed; `spec` is None for a query parameter, of which `allowed` are the names."""
    context, given, location = error.get("ctx", {}), error["input"], error["loc"][1:]
    place = str(location[-1]) if location else ""
    match error["type"]:
        case "extra_forbidden":
            hint = hints.field(place, allowed, spec, path)
            if spec is not None and (others := _others(spec, location)):
                have = ", ".join(f"`{kind}`" for kind in others)
                return (
                    f"`{location[-2]}` has no `{place}`{hint}, a field of {have}: leave it out, or {_one_of(allowed)}"
                )
            return f"`{place}` is not known here{hint}" + (f": {_one_of(allowed)}" if allowed else "")
        case "union_tag_invalid":
            return _impossible(context["tag"], _unquoted(context["expected_tags"]), place)
        case "union_tag_not_found":
            return f"`kind` is missing: {_one_of(_kinds(spec or Experiment, location))}"
        case "literal_error" | "enum":
            return _impossible(given, _unquoted(context["expected"]), place)
        case "missing":
            kinds = [] if spec is None else _kinds(spec, location)
            return "This field is required" + (f", an object with a `kind`: {_one_of(kinds)}" if kinds else "")
        case "model_attributes_type" | "model_type" | "dict_type" | "dict_attributes_type":
            return f"An object is wanted here{_example(spec, location, given)}, not {_shown(given)}"
        case "string_type":
            return f"A text is wanted here, not {_shown(given)}: write it in quotes"
        case "tuple_type" | "list_type":
            return f"A list is wanted here, such as {_shown([given])}, not {_shown(given)}"
        case "value_error" | "assertion_error" if isinstance(given, Mapping):  # of a package's whole problem
            return _own_words(error["msg"])
        case _:
            several = ": several values are a sweep, `bilevel sweep`" if isinstance(given, list) else ""
            return f"{_own_words(error['msg'])}, not {_shown(given)}{several}{_described(spec, location)}"


def _own_words(message: str) -> str:
    """A message without what pydantic puts before those of validators."""
    return re.sub("^(Value error|Assertion failed), ", "", message)


def _impossible(given: object, choices: Sequence[str], place: str) -> str:
    shown = f"`{given}`" if isinstance(given, str) else _shown(given)
    return f"{shown} is not possible here{hints.choice(given, choices, place)}: {_one_of(choices)}"


def _example(spec: type[Spec] | None, location: Sequence[str | int], given: object) -> str:
    """Of an object that is possible at a location; where the given text is a kind, of that kind."""
    node = {} if spec is None else _node(spec, location)
    if kinds := list(node.get("discriminator", {}).get("mapping", {})):
        return f', such as {{"kind": "{given if given in kinds else kinds[0]}"}}'
    if names := list(node.get("properties", {})):
        return f', such as {{"{names[0]}": ...}}'
    return ', such as {"name": "value"}' if node.get("type") == "object" else ""


def _described(spec: type[Spec] | None, location: Sequence[str | int]) -> str:
    """The first sentence of what a field is, for what is wrong with its value may be its unit."""
    for end in range(len(location), 0, -1):
        parent = {} if spec is None else _node(spec, location[: end - 1])
        if words := parent.get("properties", {}).get(location[end - 1], {}).get("description"):
            first = re.split(r"(?<=[.:;])\s", " ".join(str(words).split()), maxsplit=1)[0].rstrip(".:;")
            return f" (`{location[end - 1]}`: {first})"
    return ""


def _one_of(choices: Sequence[str]) -> str:
    quoted = [f"`{choice}`" for choice in choices]
    return "use " + (quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + " or " + quoted[-1])


def _unquoted(listed: str) -> list[str]:
    return [choice.strip().strip("'") for choice in listed.replace(" or ", ", ").split(", ")]


def _shown(value: object) -> str:
    """As JSON, cut short; half of a surrogate pair as an escape, for it cannot be sent."""
    text = json.dumps(value, ensure_ascii=False, default=repr).encode(errors="backslashreplace").decode()
    return f"`{text[:77]}...`" if len(text) > 80 else f"`{text}`"


def _path(location: Sequence[str | int], body: object) -> list[str | int]:
    """The parts of a location that are fields or indices of the body; the others are tags of unions."""
    path: list[str | int] = []
    place, tag_passed = body, False
    for number, part in enumerate(location):
        if isinstance(place, Mapping):
            if not tag_passed and part == place.get("kind"):
                tag_passed = True
                continue
            last = number == len(location) - 1
            if part not in place and not last:
                continue
        elif not isinstance(part, int):
            continue
        path.append(part)
        place, tag_passed = _inside(place, part), False
    return path


def _inside(place: object, part: str | int) -> object:
    if isinstance(place, Mapping):
        return place.get(part)
    if isinstance(place, Sequence) and isinstance(part, int) and part < len(place):
        return place[part]
    return None


def _escape(part: str | int) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")


@cache
def _schema(spec: type[Spec]) -> Node:
    return spec.model_json_schema()


def _allowed(spec: type[Spec], location: Sequence[str | int]) -> list[str]:
    """Names of the fields where an unknown one was found."""
    return sorted(_node(spec, location[:-1]).get("properties", {}))


def _kinds(spec: type[Spec], location: Sequence[str | int]) -> list[str]:
    """Kinds of the union at a location, in the order in which it is written; none where there is no union."""
    node = _node(spec, location)
    tags = {reference: tag for tag, reference in node.get("discriminator", {}).get("mapping", {}).items()}
    return [tags[member["$ref"]] for member in node.get("oneOf", ())]


def _others(spec: type[Spec], location: Sequence[str | int]) -> list[str]:
    """Kinds of the same union that have a field which the kind at a location has not."""
    *place, kind, field = location if len(location) > 1 else ("", *location)
    kinds = _kinds(spec, place)
    return [other for other in kinds if kind in kinds and field in _node(spec, [*place, other]).get("properties", {})]


def _node(spec: type[Spec], location: Sequence[str | int]) -> Node:
    """The schema of the value at a location of pydantic's, which names fields, indices and tags of unions."""
    schema = _schema(spec)
    node: Node = schema
    for part in location:
        if part in (tags := node.get("discriminator", {}).get("mapping", {})):
            node = {"$ref": tags[part]}
        else:
            node = node.get("properties", {}).get(part) or node.get("items") or {}
        node = next((each for each in node.get("anyOf", ()) if "$ref" in each), node)  # that or null
        if reference := node.get("$ref"):
            node = schema["$defs"][reference.rsplit("/", 1)[1]]
    return node


SPECS: Mapping[str, type[Spec]] = {"submit_sweep": Sweep, "plan_sweep": Sweep}
"""What the body of an operation has to be, where it is no experiment."""
