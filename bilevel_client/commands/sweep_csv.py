"""Sweeps as CSV, for programs: a line a cell or a member, plain numbers."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from bilevel_client.records import Record

Line = Mapping[str, Any]
"""Column -> value."""


def cells(record: Record, paths: Sequence[str] = ()) -> str:
    """A line a cell: its parameters, how many seeds have succeeded, mean and deviation of every metric and number.

    Args:
        record: the sweep's.
        paths: of the numbers that were asked for; each has its columns, also where nothing has it.
    """
    return _text([_cell(each, paths) for each in record["cells"]])


def members(found: Sequence[Record], paths: Sequence[str] = ()) -> str:
    """A line a member: its parameters, where it stands, every metric and number; `paths` as of `cells`."""
    return _text([_member(each, paths) for each in found])


def _cell(cell: Mapping[str, Any], paths: Sequence[str]) -> Line:
    line = {**cell["parameters"], "seeds": cell["seeds"], "succeeded": cell["succeeded"], "metric": cell["metric"]}
    tested = {f"test.{name}": spread for name, spread in cell["test"].items()}
    values = {path: cell["values"].get(path) for path in paths}
    for name, spread in {"validation": cell["validation"], **tested, **values}.items():
        line |= {f"{name}.{part}": (spread or {}).get(part) for part in ("mean", "deviation")}
    return line


def _member(member: Record, paths: Sequence[str]) -> Line:
    score = member["score"] or {}
    return {
        **{name: member[name] for name in ("member", "trial", "experiment_id")},
        **member["parameters"],
        "status": member["status"],
        **{name: member["progress"][name] for name in ("hyperiteration", "hyperiterations")},
        "error": (member["error"] or {}).get("code"),
        "metric": score.get("metric"),
        "best_hyperiteration": score.get("hyperiteration"),
        "validation": score.get("validation"),
        **{f"test.{name}": value for name, value in score.get("test", {}).items()},
        **{path: member["values"].get(path) for path in paths},
    }


def _text(lines: Sequence[Line]) -> str:
    """Every column that some line has; objects and lists in JSON, nothing for null."""
    file = io.StringIO()
    table = csv.DictWriter(file, dict.fromkeys(name for line in lines for name in line), lineterminator="\n")
    table.writeheader()
    table.writerows({name: _plain(value) for name, value in line.items()} for line in lines)
    return file.getvalue()


def _plain(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else value
