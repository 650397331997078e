"""What an experiment or a sweep would cost, as tables for a terminal."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bilevel_client.commands.assumption_table import assumption_table
from bilevel_client.commands.fitting import Column, Rows
from bilevel_client.commands.numbers import duration, number
from bilevel_client.commands.sweep_tables import short_names, short_value


def plan(name: str, found: Mapping[str, Any]) -> Group:
    """Verdict, memory and time by part, other ways to the same end, assumptions."""
    parts: list[RenderableType] = [Text(name, "bold"), Text(found["verdict"], _colour(found)), ""]
    parts += [Text(_sizes(found["sizes"]), "bright_black")]
    if found["memory"] is not None:
        parts += [_memory(found["memory"]), _time(found["time"]), _ways(found["ways"])]
    parts += [assumption_table(found["assumptions"]), *(Text(note, "yellow") for note in found["notes"])]
    return Group(*parts, Text(f"Reckoned for {_device(found['device'])}.", "bright_black"))


def plan_of_sweep(name: str, found: Mapping[str, Any]) -> Group:
    """Verdict, and what each combination takes."""
    cells = found["cells"]
    names = short_names(list(cells[0]["parameters"]))
    devices = [device["name"] for device in found["devices"]]
    several = [Column("device")] if len(devices) > 1 else []
    rows = Rows(*names.values(), "seeds", *several, "MB", Column("a hyperiteration", rank=1), "a member", "")
    for cell in cells:
        memory, time = cell["memory"] or {}, cell["time"] or {}
        rows.add_row(
            *(short_value(cell["parameters"][path]) for path in names),
            str(cell["seeds"]),
            *([cell["device"]] if several else []),
            f"{memory['peak_mb']:.0f}" if memory else "not modelled",
            _seconds(time["hyperiteration_seconds"]) if time else "",
            _seconds(time["total_seconds"]) if time else "",
            _fits({"memory": memory.get("fits"), "time": time.get("fits")}),
        )
    bad = any((cell[part] or {}).get("fits") is False for cell in cells for part in ("memory", "time"))
    reckoned = [Text(f"Reckoned for {_device(device)}.", "bright_black") for device in found["devices"]]
    return Group(Text(name, "bold"), Text(found["verdict"], "red" if bad else ""), rows, *reckoned)


def _fits(parts: Mapping[str, bool | None]) -> Text:
    if over := [part for part, fits in parts.items() if fits is False]:
        return Text(f"{' and '.join(over)}: above the limit", "red")
    return Text("fits", "green") if True in parts.values() else Text()


def _seconds(seconds: float) -> str:
    return duration(seconds) if seconds >= 10 else f"{number(seconds, 2)} s"


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
