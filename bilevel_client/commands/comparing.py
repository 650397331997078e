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

    Objects of different kinds are taken as wholes, and those of one kind field by field. Names are not compared.
    """
    found: dict[str, list[Any]] = {}
    unnamed = {place: {**spec, "name": None} for place, spec in enumerate(specs)}
    for path, values in _differences(unnamed, ""):
        row = found.setdefault(path, [None] * len(specs))
        for place, value in values.items():
            row[place] = value
    return found


def comparison(records: Sequence[Record], results: Sequence[Mapping[str, Any] | None]) -> Rows:
    """A column an experiment: state, what differs in the specs, metrics, time and memory."""
    differing = differences([record["spec"] for record in records])
    rows = Rows("", *(Column(record["id"][:8]) for record in records))
    if any(names := _without_common([_name(record) for record in records])):
        rows.add_row("name", *(cut(name, LONGEST_NAME) for name in names))
    rows.add_row("status", *(Text(record["status"], colour(record)) for record in records))
    for path, name in short_names(list(differing)).items():
        rows.add_row(name, *(_setting(value) for value in differing[path]))
    data = [(found or {}).get("data") for found in results]
    if len({each["sha256"] for each in data if each}) > 1:
        rows.add_row("data (sha256)", *(each["sha256"][:8] if each else MISSING for each in data))
    for label, values in _reached(results):
        rows.add_row(label, *(MISSING if value is None else value for value in values))
    return rows


def names_apart(records: Sequence[Record]) -> list[str]:
    """What tells experiments apart in a picture: what their names do not share and, where that is not enough, where
    their specs differ; the beginning of the id where these are the same, too."""
    names = [_name(record) for record in records]
    columns = [_without_common(names)]
    if len({*names}) < len(names):
        differing = differences([record["spec"] for record in records])
        differing |= {"seed": differing.pop("seed")} if "seed" in differing else {}  # the last, as in names of members
        columns += [_settings(name, differing[path]) for path, name in short_names(list(differing)).items()]
    found = [", ".join(filter(None, parts)) for parts in zip(*columns, strict=True)]
    return [
        name if found.count(name) == 1 else f"{name} ({record['id'][:8]})".lstrip()
        for name, record in zip(found, records, strict=True)
    ]


def common_name(records: Sequence[Record]) -> str:
    """The name that experiments share, as members of a sweep do; empty where they do not."""
    names = {_name(record) for record in records}
    return names.pop() if len(names) == 1 else ""


def _without_common(names: Sequence[str]) -> list[str]:
    """Names without the words that all begin and end with; empty where nothing is left of all."""
    words = [name.split() for name in names]
    begin = _shared(words)
    end = _shared([each[begin:][::-1] for each in words])
    left = [each[begin : len(each) - end] for each in words]
    return [" ".join(each) for each in (left if all(left) or not any(left) else words)]


def _shared(words: Sequence[Sequence[str]]) -> int:
    """How many words all begin with."""
    places = enumerate(zip(*words, strict=False))
    return next((place for place, each in places if len({*each}) > 1), min(map(len, words)))


def _settings(name: str, values: Sequence[Any]) -> list[str]:
    """A field's part of the labels; none for an experiment without the field."""
    return ["" if value is None else f"{name}={_setting(value)}" for value in values]


def _name(record: Record) -> str:
    """Without what a member of a sweep has in brackets, which is among the differences."""
    name: str = record["name"]
    return name.partition(" [")[0] if record.get("sweep") else name


def _differences(values: Mapping[int, Any], path: str) -> Iterator[tuple[str, Mapping[int, Any]]]:
    """Path -> place -> value; a path may come again for other places, whose objects are of another kind."""
    first = next(iter(values.values()))
    if all(value == first for value in values.values()):
        return
    groups: dict[Any, dict[int, Any]] = {}
    for place, value in values.items():
        groups.setdefault(value.get("kind") if isinstance(value, Mapping) else (), {})[place] = value
    if len(groups) > 1 or () in groups:
        yield path, values
    for kind, group in groups.items():
        if kind != ():
            for name in dict.fromkeys(name for value in group.values() for name in value):
                fields = {place: value.get(name) for place, value in group.items()}
                yield from _differences(fields, f"{path}.{name}" if path else name)


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
