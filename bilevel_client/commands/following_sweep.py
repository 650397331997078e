"""Progress of a sweep, all its members together: a bar in a terminal, or line by line elsewhere."""

import math
import sys
import time

from rich.console import Console

from bilevel_client.client import Client
from bilevel_client.commands.following import LINE_EVERY, PAUSE, bars, looks
from bilevel_client.commands.numbers import cut
from bilevel_client.commands.sweep_tables import counts
from bilevel_client.records import Record

LONGEST = 48
"""Characters of a name."""


def follow_sweep(client: Client, sweep_id: str, *, quiet: bool = False) -> Record:
    """Waits until every member has ended, and shows on standard error how many have.

    Args:
        client: of the service.
        sweep_id: which sweep.
        quiet: show nothing.

    Returns:
        The sweep's record.
    """
    console = Console(file=sys.stderr, quiet=quiet, highlight=False)
    display = _bar if console.is_terminal and not quiet else _lines
    return display(console, client, sweep_id)


def _bar(console: Console, client: Client, sweep_id: str) -> Record:
    shape = looks(console.width)
    with bars(console, shape) as progress:
        record = client.get_sweep(sweep_id)
        task = progress.add_task(cut(record["name"], shape.name), total=None, news="")
        while True:
            done, asked = (record["progress"][part] for part in ("hyperiteration", "hyperiterations"))
            # Before the first point the bar has no length, so that it pulses.
            total = asked if done or record["ended"] else None
            progress.update(task, completed=done, total=total, news=f"[cyan]{_states(record)}[/]")
            if record["ended"]:
                return record
            time.sleep(PAUSE)
            record = client.get_sweep(sweep_id)


def _lines(console: Console, client: Client, sweep_id: str) -> Record:
    told, failed = -math.inf, 0
    while True:
        record = client.get_sweep(sweep_id)
        more = record["counts"].get("failed", 0) > failed
        if record["ended"] or more or time.monotonic() - told > LINE_EVERY:
            told, failed = time.monotonic(), record["counts"].get("failed", 0)
            console.print(_line(record), soft_wrap=True, markup=False)
        if record["ended"]:
            return record
        time.sleep(PAUSE)


def _line(record: Record) -> str:
    progress = record["progress"]
    steps = f"{progress['hyperiteration']}/{progress['hyperiterations']}"
    return (
        f"{record['id'][:8]}  {cut(record['name'], LONGEST)}  {steps}  {record['members']} members: {_states(record)}"
    )


def _states(record: Record) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts(record))
