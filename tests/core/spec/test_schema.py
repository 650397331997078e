"""The JSON Schema is the public contract: every field is described, numbers are bounded."""

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from core.spec import KINDS, Experiment
from core.spec.base import Spec

SCHEMA = Experiment.model_json_schema()
OBJECTS = {"Experiment": SCHEMA, **SCHEMA["$defs"]}
FIELDS = [(name, field) for name, schema in OBJECTS.items() for field in schema.get("properties", {})]


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_every_field_has_a_description(name: str, field: str) -> None:
    schema = OBJECTS[name]["properties"][field]
    assert field == "kind" or schema.get("description"), f"{name}.{field} has no docstring"


@pytest.mark.parametrize("name", OBJECTS)
def test_every_object_is_closed_and_described(name: str) -> None:
    assert OBJECTS[name]["additionalProperties"] is False
    assert OBJECTS[name]["description"]


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_every_number_is_bounded(name: str, field: str) -> None:
    for schema in _numbers(OBJECTS[name]["properties"][field]):
        assert schema.keys() & {"minimum", "exclusiveMinimum"}, f"{name}.{field} has no lower bound"
        assert schema.keys() & {"maximum", "exclusiveMaximum"}, f"{name}.{field} has no upper bound"


def _numbers(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if schema.get("type") in ("number", "integer"):
        yield schema
    for option in (*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())):
        yield from _numbers(option)


def test_every_kind_is_in_the_schema() -> None:
    for members in KINDS.values():
        assert {member.__name__ for member in members} <= OBJECTS.keys()


def test_the_schema_agrees_with_the_models() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    assert validator.is_valid(Experiment.model_validate({"problem": {"kind": "hyper_cleaning"}}).canonical())
    assert not validator.is_valid({"problem": {"kind": "hyper_cleaning", "corruption": 1.5}})
    assert not validator.is_valid({"problem": {"kind": "hyper_cleaning"}, "sede": 1})


def test_each_kind_has_a_schema_of_its_own() -> None:
    member: type[Spec]
    for members in KINDS.values():
        for member in members:
            assert "kind" in member.model_json_schema()["properties"]
