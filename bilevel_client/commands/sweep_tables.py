"""Sweeps as tables for a terminal."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text

from bilevel_client.commands.fitting import Column, Rows, new_facts
from bilevel_client.commands.numbers import age, around, cut, measure, percent
from bilevel_client.commands.tables import COLOURS, colour
from bilevel_client.grids import shown
from bilevel_client.records import Record

LONGEST = 40
"""Characters of a value in a table."""


def sweeps(records: Sequence[Record]) -> Rows:
    """One sweep a line."""
    rows = Rows(
        "id",
        Column("name", folds=True),
        "members",
        Column("states", folds=True),
        Column("progress", rank=1),
        Column("submitted", rank=2),
        Column("labels", rank=3, folds=True),
    )
    for record in records:
        labels = " ".join(f"{name}:{value}" for name, value in record["labels"].items())
        rows.add_row(
            Text(record["id"][:8], "bold"),
            Text(record["name"]),
            str(record["members"]),
            states(record),
            percent(record["progress"]["fraction"]),
            age(record["created_at"]),
            Text(labels, "bright_black"),
        )
    return rows


NO_BEST = (
    "no best: members were chosen by different metrics or judged on different data or tasks, or no value is finite"
)
"""Under a sweep of which several members have succeeded."""


def sweep(record: Record, paths: Sequence[str] = ()) -> Group:
    """How far it is, the means over seeds, the best member; with a column for each number that was asked for."""
    progress = record["progress"]
    about = new_facts()
    about.add_row("id", record["id"])
    about.add_row("members", Text.assemble(f"{record['members']}: ", states(record)))
    about.add_row("progress", f"{progress['hyperiteration']}/{progress['hyperiterations']} hyperiterations")
    about.add_row("created", f"{record['created_at']} ({age(record['created_at'])})")
    if record["labels"]:
        about.add_row("labels", Text(", ".join(f"{name}:{value}" for name, value in record["labels"].items())))
    parts: list[RenderableType] = [Text(record["name"], "bold"), about, _cells(record["cells"], paths)]
    if any(_deviates(cell) for cell in record["cells"]):
        parts.append(Text("±: standard deviation over seeds", "bright_black"))
    if record["best"]:
        parts.append(_best(record["best"]))
    elif record["counts"]["succeeded"] > 1:
        parts.append(Text(NO_BEST, "bright_black"))
    if record.get("best_cell") and len(record["cells"]) > 1:
        parts.append(_best_cell(record["best_cell"]))
    return Group(*parts)


def members(record: Record, found: Sequence[Record], paths: Sequence[str] = ()) -> Group:
    """One member a line; with a column for each number that was asked for."""
    names = short_names([path for each in found[:1] for path in each["parameters"]])
    scores = [each["score"] for each in found if each["score"]]
    metrics = _metrics(scores)
    failed = any(each["error"] for each in found)
    chosen = _chosen(score["metric"] for score in scores)
    columns: list[Column | str] = [*names.values(), "status", Column("progress", rank=2), *_scored(chosen, metrics)]
    columns += paths
    rows = Rows("member", Column("trial", rank=2), "id", *columns, *(["error"] if failed else []))
    for each in found:
        score: Mapping[str, Any] = each["score"] or {"test": {}}
        progress = each["progress"]
        rows.add_row(
            str(each["member"]),
            str(each["trial"]),
            Text(each["experiment_id"][:8], "bold"),
            *(short_value(each["parameters"][path]) for path in names),
            Text(each["status"], colour(each)),
            f"{progress['hyperiteration']}/{progress['hyperiterations']}",
            chosen.text(score["metric"], measure(score["metric"], score["validation"])) if each["score"] else "",
            *(_metric_of(score["test"], metric) for metric in metrics),
            *(_metric_of(each["values"], path) for path in paths),
            *([Text((each["error"] or {}).get("code", ""), "red")] if failed else []),
        )
    return Group(Text.assemble((record["name"], "bold"), f" ({record['id'][:8]})"), rows)


def states(record: Record) -> Text:
    """How many members are in which state."""
    counted = [Text(f"{count} {status}", COLOURS.get(status, "white")) for status, count in counts(record)]
    return Text(", ").join(counted)


def counts(record: Record) -> Iterator[tuple[str, int]]:
    """States that members are in, and how many."""
    return ((status, count) for status, count in record["counts"].items() if count)


def _cells(cells: Sequence[Mapping[str, Any]], paths: Sequence[str]) -> Rows:
    names = short_names([path for cell in cells[:1] for path in cell["parameters"]])
    metrics = _metrics(cells)
    chosen = _chosen(cell["metric"] for cell in cells if cell["metric"])
    rows = Rows(*names.values(), "seeds", *_scored(chosen, metrics), *paths)
    for cell in cells:
        rows.add_row(
            *(short_value(cell["parameters"][path]) for path in names),
            f"{cell['succeeded']}/{cell['seeds']}",
            chosen.text(cell["metric"], _spread(cell["metric"], cell["validation"])) if cell["metric"] else "",
            *(_spread(metric, cell["test"].get(metric)) for metric in metrics),
            *(_spread(path, cell["values"].get(path)) for path in paths),
        )
    return rows


class _Chosen(NamedTuple):
    """How the validation metric is called: by the column where all have the same, else by each value."""

    column: str
    one: bool

    def text(self, metric: str, value: str) -> str:
        """A value in the column."""
        return value if self.one else f"{_words(metric)} {value}"


def _chosen(metrics: Iterable[str]) -> _Chosen:
    found = set(metrics)
    return (
        _Chosen(f"validation {_words(found.pop())}", one=True) if len(found) == 1 else _Chosen("validation", one=False)
    )


def _metrics(scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """Metrics on test data by name, those of the choice first."""
    chosen = {score["metric"] for score in scores}
    return sorted({metric for score in scores for metric in score["test"]}, key=lambda name: (name not in chosen, name))


def _scored(chosen: _Chosen, metrics: Sequence[str]) -> Iterator[Column]:
    """Columns for the metric of the choice and those on test data, of which the last are left out first."""
    yield from (Column(name, rank=1) for name in (chosen.column, *(f"test {_words(metric)}" for metric in metrics)))


def _settings(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={shown(parameters[path])}" for path, name in short_names(list(parameters)).items())


def _best_cell(cell: Mapping[str, Any]) -> Text:
    scores = [f"validation {_words(cell['metric'])} {_spread(cell['metric'], cell['validation'])}"]
    scores += [f"test {_words(name)} {_spread(name, spread)}" for name, spread in sorted(cell["test"].items())]
    where = f" ({cell['seeds']} seeds): "
    return Text.assemble(("best cell: ", "green"), (_settings(cell["parameters"]), "bold"), where, ", ".join(scores))


def _best(best: Mapping[str, Any]) -> Text:
    scores = [f"validation {_words(best['metric'])} {measure(best['metric'], best['validation'])}"]
    scores += [f"test {_words(name)} {measure(name, value)}" for name, value in sorted(best["test"].items())]
    where = f" (member {best['member']}, experiment {best['experiment_id'][:8]}): "
    return Text.assemble(("best: ", "green"), (_settings(best["parameters"]), "bold"), where, ", ".join(scores))


def _deviates(cell: Mapping[str, Any]) -> bool:
    return bool(cell["validation"]) and cell["validation"]["deviation"] is not None


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Path -> the shortest ending that no other path has."""
    found = {}
    for path in paths:
        parts = path.split(".")
        endings = [".".join(parts[-count:]) for count in range(1, len(parts))]
        others = [f".{other}" for other in paths if other != path]
        found[path] = next((end for end in endings if not any(each.endswith(f".{end}") for each in others)), path)
    return found


def short_value(value: Any) -> str:
    """A value of a spec, short enough for a table."""
    return cut(shown(value), LONGEST)


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def _metric_of(found: Mapping[str, float | str], name: str) -> str:
    return measure(name, found[name]) if name in found else ""


def _spread(name: str, spread: Mapping[str, Any] | None) -> str:
    return "" if spread is None else around(name, spread["mean"], spread["deviation"])
