"""One kind of the catalogue as a table: its fields, what each may be, its default, what it means."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from bilevel_client.commands.fitting import new_facts

Node = Mapping[str, Any]
"""A piece of JSON Schema."""


def kinds(entries: Sequence[Mapping[str, Any]]) -> Group:
    """Kinds of one name, which may stand in several sections."""
    parts: list[RenderableType] = []
    for entry in entries:
        table = new_facts()
        schema = entry["schema"]
        for name, node in schema["properties"].items():
            if name != "kind":
                values = f"{allowed(node, schema)}; {_default(name, node, entry)}"
                table.add_row(name, Text.assemble((values, "cyan"), "\n", _one_line(node, schema)))
        parts += [Text.assemble((entry["kind"], "bold"), f" ({entry['section']})"), _paragraph(entry), ""]
        if table.rows:
            parts += [table, ""]
    return Group(*parts)


def allowed(node: Node, schema: Node) -> str:
    """What a field may be: `1 .. 100`, `above 0, below 1`, `auto | none`, the kinds of an object."""
    node = _resolved(node, schema)
    if options := node.get("anyOf"):
        return " | ".join(allowed(option, schema) for option in options if option.get("type") != "null")
    if mapping := node.get("discriminator", {}).get("mapping"):
        return " | ".join(mapping)
    if "enum" in node or "const" in node:
        return " | ".join(map(str, node.get("enum") or [node["const"]]))
    match node.get("type"):
        case "integer" | "number":
            return _bounds(node)
        case "boolean":
            return "true | false"
        case "array":
            return f"list of {allowed(node.get('items', {}), schema)}"
        case "string":
            return "text"
        case _:
            return _kind_of(node) or "object"


def _bounds(node: Node) -> str:
    ends = {"minimum": "from {}", "exclusiveMinimum": "above {}", "maximum": "to {}", "exclusiveMaximum": "below {}"}
    words = " ".join(form.format(f"{node[end]:g}") for end, form in ends.items() if end in node)
    return words or "a number"


def _default(name: str, node: Node, entry: Mapping[str, Any]) -> str:
    if name in entry["schema"].get("required", ()):
        return "required"
    default = node.get("default", entry["example"].get(name))
    if default is None:
        return "optional"
    if isinstance(default, Mapping):
        default = default.get("kind", "{}")
    return f"default {default if isinstance(default, str) else json.dumps(default)}"


def _one_line(node: Node, schema: Node) -> str:
    words = node.get("description") or _resolved(node, schema).get("description", "")
    return " ".join(str(words).split("\n\n")[0].split())


def _paragraph(entry: Mapping[str, Any]) -> str:
    return "\n\n".join(" ".join(part.split()) for part in entry["description"].split("\n\n"))


def _resolved(node: Node, schema: Node) -> Node:
    reference = node.get("$ref")
    found: Node = schema["$defs"][reference.rsplit("/", 1)[1]] if reference else node
    return found


def _kind_of(node: Node) -> str | None:
    kind = node.get("properties", {}).get("kind", {}).get("const")
    return None if kind is None else str(kind)
