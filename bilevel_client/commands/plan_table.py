"""What an experiment would cost, as tables for a terminal."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bilevel_client.commands.assumption_table import assumption_table
from bilevel_client.commands.numbers import duration, number


def plan(name: str, found: Mapping[str, Any]) -> Group:
    """Verdict, memory and time by part, other ways to the same end, assumptions."""
    parts: list[RenderableType] = [Text(name, "bold"), Text(found["verdict"], _colour(found)), ""]
    parts += [Text(_sizes(found["sizes"]), "bright_black")]
    if found["memory"] is not None:
        parts += [_memory(found["memory"]), _time(found["time"]), _ways(found["ways"])]
    parts += [assumption_table(found["assumptions"]), *(Text(note, "yellow") for note in found["notes"])]
    return Group(*parts, Text(f"Reckoned for {_device(found['device'])}.", "bright_black"))


def _colour(found: Mapping[str, Any]) -> str:
    verdicts = [(found[part] or {}).get("fits") for part in ("memory", "time")]
    return "red" if False in verdicts else "green" if True in verdicts else ""


def _sizes(sizes: Mapping[str, int | None]) -> str:
    parts = ("outer_variables", "inner_variables", "inner_steps", "hyperiterations")
    return ", ".join(f"{sizes[part]} {part.replace('_', ' ')}" for part in parts if sizes[part] is not None)


def _memory(memory: Mapping[str, Any]) -> Table:
    table = _table("memory", "MB")
    for part in memory["parts"]:
        table.add_row(part["part"], f"{part['mb']:.1f}")
    limit = "" if memory["limit_mb"] is None else f" of {memory['limit_mb']:.0f}"
    table.add_row(Text("peak" + limit, "bold"), Text(f"{memory['peak_mb']:.1f}", "bold"))
    return table


def _time(time: Mapping[str, Any]) -> Table:
    table = _table("time", "seconds")
    for part in time["parts"]:
        table.add_row(part["part"], number(part["seconds"], 3))
    table.add_row(Text("a hyperiteration", "bold"), Text(number(time["hyperiteration_seconds"], 3), "bold"))
    table.add_row(f"an evaluation, of {time['evaluations']}", number(time["evaluation_seconds"], 3))
    if time["closing_seconds"]:
        table.add_row("the report at the end", number(time["closing_seconds"], 3))
    limit = "" if time["limit_seconds"] is None else f" of {duration(time['limit_seconds'])}"
    table.add_row(Text("in all" + limit, "bold"), Text(duration(time["total_seconds"]), "bold"))
    return table


def _ways(ways: list[Mapping[str, Any]]) -> Table:
    table = _table("way", "MB", "seconds", "same", "")
    for way in ways:
        if way["reason"] is not None:
            continue
        fits = {True: Text("fits", "green"), False: Text("does not fit", "red"), None: Text()}[way["fits"]]
        same = "yes" if way["same"] else "no"
        table.add_row(way["name"], f"{way['memory_mb']:.0f}", number(way["hyperiteration_seconds"], 3), same, fits)
    return table


def _device(device: Mapping[str, Any]) -> str:
    half, replayed = device["bf16_operations_per_second"], device.get("replayed_seconds")
    rates = {
        "Gflop/s": device["operations_per_second"] / 1e9,
        **({} if half is None else {"Gflop/s in bf16": half / 1e9}),
        "GB/s": device["bytes_per_second"] / 1e9,
        "µs an operator": device["operator_seconds"] * 1e6,
        **({} if replayed is None else {"µs one from a CUDA graph": replayed * 1e6}),
    }
    return f"{device['name']}: " + ", ".join(f"{number(rate, 3)} {unit}" for unit, rate in rates.items())


def _table(first: str, *numbers: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column(first, overflow="ellipsis", no_wrap=True)
    for column in numbers:
        table.add_column(column, justify="right" if column in ("MB", "seconds") else "left", no_wrap=True)
    return table
