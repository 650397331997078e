"""What the service says, as tables for a terminal."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.syntax import Syntax
from rich.text import Text

from bilevel_client.client import Curves, Record
from bilevel_client.commands.assumption_table import assumption_table
from bilevel_client.commands.fitting import Column, Rows, new_facts
from bilevel_client.commands.numbers import age, around, duration, in_order, measure, number, sparkline
from bilevel_client.commands.standing import to_come, until_retry

COLOURS = {
    "queued": "yellow",
    "running": "cyan",
    "cancelling": "magenta",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "bright_black",
}

FIRST = (
    "kind",
    "name",
    "labels",
    "seed",
    "problem",
    "algorithm",
    "evaluation",
    "diagnostics",
    "resources",
    "dataset",
    "model",
)
"""Fields of a spec in the order in which they are shown; others follow by name."""
SHORT = 10
"""Numbers of a list that is shown."""
NOT_FINITE = ("NaN", "Infinity", "-Infinity")
"""How a result has numbers that JSON has not."""
WIDE = 240
"""Characters of a line in a file or pipe."""


def show(content: RenderableType) -> None:
    """Prints to standard output; where that is no terminal, without regard to its width."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    console.print(content)


def colour(record: Record) -> str:
    """The colour of an experiment's state; a newer service may have states that are not known here."""
    return COLOURS.get(record["status"], "white")


def experiments(records: Sequence[Record]) -> Rows:
    """One experiment a line."""
    table = Rows(
        "id",
        Column("name", folds=True),
        Column("problem", rank=1),
        "status",
        Column("progress", folds=True),
        Column("submitted", rank=2),
        Column("labels", rank=3, folds=True),
    )
    for record in records:
        labels = " ".join(f"{name}:{value}" for name, value in record["labels"].items())
        table.add_row(
            Text(record["id"][:8], "bold"),
            Text(record["name"]),
            record["spec"]["problem"]["kind"],
            _status(record),
            _progress(record),
            age(record["created_at"]),
            Text(labels, "bright_black"),
        )
    return table


def experiment(record: Record) -> Group:
    """Everything about one experiment."""
    facts = new_facts()
    facts.add_row("id", record["id"])
    facts.add_row("status", _status(record))
    facts.add_row("progress", _progress(record))
    facts.add_row("attempt", str(record["attempt"]))
    if lost := record.get("lost_attempt"):
        facts.add_row("lost", Text(_error(lost["error"]), "yellow"))
        facts.add_row("tried again", _retried(record))
    for moment in ("created_at", "started_at", "finished_at"):
        if record[moment]:
            facts.add_row(moment.removesuffix("_at"), f"{record[moment]} ({age(record[moment])})")
    if sweep := record.get("sweep"):
        facts.add_row("sweep", f"{sweep['id']}, member {sweep['member']}, trial {sweep['trial']}")
    if record["labels"]:
        facts.add_row("labels", Text(", ".join(f"{name}:{value}" for name, value in record["labels"].items())))
    if record["error"]:
        facts.add_row("error", Text(_error(record["error"]), "red"))
    spec = Syntax(json.dumps(_ordered(record["spec"]), indent=2), "json", background_color="default", word_wrap=True)
    return Group(Text(record["name"], "bold"), facts, "", spec)


def ending(record: Record) -> Text:
    """How an experiment ended that has no result."""
    text = Text.assemble((record["name"], "bold"), f" ({record['id'][:8]}) ", (record["status"], colour(record)))
    if record["error"]:
        text.append(f": {_error(record['error'])}")
    return text


def result(record: Record, found: Mapping[str, Any]) -> Group:
    """Metrics, what the problem reports, the theorem's assumptions, and what they were made with."""
    report = found.get("report", {})
    rows = [*_scores(found), *((name, report[name]) for name in sorted(report) if _is_metrics(report[name]))]
    names = sorted({metric for _, metrics in rows for metric in metrics})
    table = Rows(Column("", folds=True), *(Column(name.replace("_", " "), rank=1) for name in names))
    for label, metrics in rows:
        table.add_row(label, *(score(name, metrics.get(name)) for name in names))
    parts: list[RenderableType] = [Text.assemble((record["name"], "bold"), f" ({record['id'][:8]})"), table]
    facts = new_facts()
    for name, value in _leaves({name: value for name, value in sorted(report.items()) if not _is_metrics(value)}):
        if not isinstance(value, list) or _is_short(value):  # curves and grids are for --json
            facts.add_row(name.replace("_", " "), _reported(name, value))
    if facts.rows:
        parts += [facts, ""]
    if assumptions := found.get("assumptions"):
        parts.append(assumption_table(assumptions))
    parts += [Text(line, "yellow") for line in _warned(found.get("diagnostics", {}))]
    return Group(*parts, Text(_made(found), "bright_black"))


def score(name: str, metric: Mapping[str, Any] | None) -> str:
    """A metric with its interval; nothing where there is none, or a package's report says null."""
    return "" if metric is None or metric["mean"] is None else around(name, metric["mean"], metric.get("ci95"))


def _warned(diagnostics: Mapping[str, Any]) -> Iterator[str]:
    """A line for each series that crossed its threshold; the events say when."""
    for name, seen in sorted(diagnostics.items()):
        if count := seen["warnings"]:
            last, worst = (number(seen[which]) for which in ("last", "worst"))
            about = f"{count} {'warning' if count == 1 else 'warnings'} about {name}"
            yield f"{about}: last {last}, worst {worst} at hyperiteration {seen['worst_hyperiteration']}"


def _scores(found: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Metrics of the outer variables that were best on validation data, and of the last ones."""
    best, final = found["best"], found["final"]
    same = best["hyperiteration"] == final["hyperiteration"]
    yield f"best, hyperiteration {best['hyperiteration']}: validation", best.get("validation", {})
    yield f"best, hyperiteration {best['hyperiteration']}: test", found.get("test", {})
    if not same:
        yield f"last, hyperiteration {final['hyperiteration']}: validation", final.get("validation", {})
        yield f"last, hyperiteration {final['hyperiteration']}: test", final.get("test", {})


def _is_metrics(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(each, Mapping) and "mean" in each for each in value.values())


def curves(record: Record, found: Curves) -> Group:
    """One series a line, with its course in small."""
    values = (Column("first", rank=1), Column("last"), Column("least", rank=3), Column("greatest", rank=3))
    table = Rows("series", *values, Column("curve", rank=2))
    for name in in_order(found.series):
        series = found.series[name]
        ends = (series.value[0], series.value[-1], min(series.value), max(series.value))
        table.add_row(name, *(measure(name, value) for value in ends), Text(sparkline(series.value), "cyan"))
    return Group(Text.assemble((record["name"], "bold"), f" ({record['id'][:8]})"), table)


def catalog(kinds: Mapping[str, Sequence[Mapping[str, Any]]]) -> Group:
    """Every kind by section."""
    parts: list[RenderableType] = []
    for section, entries in kinds.items():
        table = new_facts()
        for entry in entries:
            note = Text("\nnot prepared here", "yellow") if entry.get("missing") else Text()
            description = " ".join(entry["description"].split("\n\n")[0].split())
            table.add_row(entry["kind"], Text.assemble(description, note))
        parts += [Text(section, "bold"), table, ""]
    return Group(*parts)


def _ordered(value: Any) -> Any:
    """The same data with the fields first that one looks for first."""
    if not isinstance(value, Mapping):
        return value
    first = [name for name in FIRST if name in value]
    return {name: _ordered(value[name]) for name in (*first, *sorted(value.keys() - set(first)))}


def _status(record: Record) -> Text:
    return Text(record["status"], colour(record))


def _progress(record: Record) -> str:
    progress = record["progress"]
    text = f"{progress['hyperiteration']}/{progress['hyperiterations']}"
    coming = to_come(record)
    return text if coming == record["status"] else f"{text}, {coming}"


def _retried(record: Record) -> str:
    moment, seconds = record["lost_attempt"]["retried_at"], until_retry(record)
    return f"{moment} (in {duration(seconds)})" if seconds else f"since {moment}"


def _error(error: Mapping[str, Any]) -> str:
    return f"{error['message']} ({error['category']}: {error['code']}, attempt {error['attempt']})"


def _is_short(values: Sequence[Any]) -> bool:
    """Whether a list is of a few numbers."""
    return len(values) <= SHORT and all(isinstance(value, int | float) or value in NOT_FINITE for value in values)


def _reported(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return score(name, value)
    if isinstance(value, list):
        return f"[{', '.join(_reported(name, each) for each in value)}]"
    return measure(name, value) if isinstance(value, float) else str(value)


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and "mean" not in value:
            yield from _leaves(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def _made(found: Mapping[str, Any]) -> str:
    timing, environment = found.get("timing", {}), found.get("environment", {})
    parts = []
    if "total_seconds" in timing:
        parts.append(duration(timing["total_seconds"]))
    if "seconds_per_hyperiteration" in timing:
        parts.append(f"{number(timing['seconds_per_hyperiteration'])} s a hyperiteration")
    if peak := found.get("memory", {}).get("peak_mb"):
        parts.append(f"{peak:.0f} MB")
    if device := environment.get("device"):
        parts.append(f"on {environment.get('device_name') or device}")
    if torch := environment.get("torch"):
        parts.append(f"torch {torch}")
    return ", ".join(parts)
