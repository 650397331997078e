"""Experiments side by side: where their specs differ, and what each of them reached."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from bilevel_client.commands.fitting import Column, Rows
from bilevel_client.commands.numbers import cut, duration
from bilevel_client.commands.sweep_tables import short_names, short_value
from bilevel_client.commands.tables import colour, score
from bilevel_client.records import Record

MISSING = "-"
"""Stands for what an experiment does not have."""
LONGEST_NAME = 24
"""Characters of the name of an experiment; a column is not wider for its name."""


def differences(specs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Field -> its value in each spec, where they are not all the same; None where a spec has no such field.

    Objects of different kinds are taken as wholes, those of one kind field by field. Names are not compared.
    """
    return dict(_differences([{name: value for name, value in spec.items() if name != "name"} for spec in specs], ""))


def comparison(records: Sequence[Record], results: Sequence[Mapping[str, Any] | None]) -> Rows:
    """A column an experiment: state, what differs in the specs, metrics, time and memory."""
    differing = differences([record["spec"] for record in records])
    rows = Rows("", *(Column(record["id"][:8]) for record in records))
    names = [_name(record) for record in records]
    if len({*names}) > 1:
        rows.add_row("name", *(cut(name, LONGEST_NAME) for name in names))
    rows.add_row("status", *(Text(record["status"], colour(record)) for record in records))
    for path, name in short_names(list(differing)).items():
        rows.add_row(name, *(_setting(value) for value in differing[path]))
    for label, values in _reached(results):
        rows.add_row(label, *(MISSING if value is None else value for value in values))
    return rows


def _name(record: Record) -> str:
    """Without what a member of a sweep has in brackets, which is among the differences."""
    name: str = record["name"]
    return name.partition(" [")[0] if record.get("sweep") else name


def _differences(values: Sequence[Any], path: str) -> Iterator[tuple[str, list[Any]]]:
    if all(value == values[0] for value in values):
        return
    if not all(isinstance(value, Mapping) for value in values) or len({value.get("kind") for value in values}) > 1:
        yield path, list(values)
        return
    for name in dict.fromkeys(name for value in values for name in value):
        yield from _differences([value.get(name) for value in values], f"{path}.{name}" if path else name)


def _setting(value: Any) -> str:
    if isinstance(value, Mapping) and "kind" in value:
        return str(value["kind"])
    return MISSING if value is None else short_value(value)


def _reached(results: Sequence[Mapping[str, Any] | None]) -> Iterator[tuple[str, list[str | None]]]:
    """What the outer variables reach that were best on validation data, and what that took."""
    if not any(results):
        return
    yield "best at", [None if found is None else str(found["best"]["hyperiteration"]) for found in results]
    for data in ("validation", "test"):
        metrics = [{} if found is None else _metrics(found, data) for found in results]
        for name in sorted({name for each in metrics for name in each}):
            label = f"{data} {name.replace('_', ' ')}"
            yield label, [score(name, each[name]) if name in each else None for each in metrics]
    yield "took", [None if found is None else duration(found["timing"]["total_seconds"]) for found in results]
    yield "memory", [None if found is None else f"{found['memory']['peak_mb']:.0f} MB" for found in results]


def _metrics(found: Mapping[str, Any], data: str) -> Mapping[str, Any]:
    metrics: Mapping[str, Any] = (found["best"] if data == "validation" else found).get(data, {})
    return metrics
