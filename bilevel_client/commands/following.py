"""Progress of experiments, live in a terminal, or line by line elsewhere."""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Column

from bilevel_client.client import TERMINAL, Client, Record
from bilevel_client.commands.numbers import cut, number, percent
from bilevel_client.commands.standing import to_come
from bilevel_client.commands.tables import colour

if TYPE_CHECKING:
    from bilevel_client.client import Curves

PAUSE = 1.0
"""Seconds between two looks at several experiments."""
LINE_EVERY = 10.0
"""Seconds between two lines about an experiment that runs, where there is no terminal."""
SERIES = ("outer_objective", "validation/accuracy", "validation/loss")


class Looks(NamedTuple):
    """What a line of progress shows in a terminal of some width."""

    name: int
    """Characters of a name, at most."""
    bar: int
    figures: bool
    """Whether there is room for the newest values."""


def looks(width: int) -> Looks:
    """So that the count and what comes next stay whole, the bar, the values and the name give way before them."""
    if width >= 150:
        return Looks(name=32, bar=28, figures=True)
    return Looks(name=24 if width >= 100 else 16, bar=8, figures=width >= 120)


def bars(console: Console, shape: Looks) -> Progress:
    """A bar for each task: its description, how far it is, and its field `news`, which is markup."""
    return Progress(
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(bar_width=shape.bar),
        MofNCompleteColumn(),
        TextColumn("{task.fields[news]}", table_column=Column()),  # takes several lines where it has no room
        console=console,
        refresh_per_second=8,
    )


class Follower:
    """What is known of one experiment: its record, and the newest point of the series worth showing."""

    def __init__(self, client: Client, experiment_id: str) -> None:
        self._client = client
        self._after = -1
        self._newest: dict[str, float] = {}
        self._told = 0
        self._warnings: list[str] = []
        self.record: Record = client.get(experiment_id)
        self._read_curves()
        self._read_events()

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        return self.record["status"] in TERMINAL

    def look(self, wait: float) -> None:
        """Reads the record again when it has changed, or after so many seconds; then the new points."""
        version = self.record["version"]
        self.record = self._client.get(self.record["id"], wait=wait, version=version)
        if self.record["version"] != version:
            self._read_curves()
            self._read_events()

    def warnings(self) -> list[str]:
        """What the service warned about since the last call, one line each."""
        fresh, self._warnings = self._warnings, []
        return fresh

    def figures(self) -> str:
        """The newest values."""
        shown = []
        if (objective := self._newest.get("outer_objective")) is not None:
            shown.append(f"outer objective {number(objective)}")
        if (accuracy := self._newest.get("validation/accuracy")) is not None:
            shown.append(f"validation accuracy {percent(accuracy)}")
        elif (loss := self._newest.get("validation/loss")) is not None:
            shown.append(f"validation loss {number(loss)}")
        return "  ".join(shown)

    def _read_curves(self) -> None:
        curves: Curves = self._client.curves(self.record["id"], SERIES, after=self._after, max_points=4)
        self._after = curves.next
        self._newest |= {name: series.value[-1] for name, series in curves.series.items() if series.value}

    def _read_events(self) -> None:
        """Up to the version of the record, which the stream reaches without waiting."""
        for event in self._client.events(self.record["id"], after=self._told):
            self._told = event.version
            if event.kind == "warning":
                self._warnings.append(_warning(self.record, event.data["data"]))
            if event.version >= self.record["version"]:
                return


def follow(client: Client, experiments: Sequence[str], *, quiet: bool = False) -> list[Record]:
    """Waits until all experiments have ended, and shows how far they are on standard error.

    Args:
        client: of the service.
        experiments: their ids.
        quiet: show nothing.

    Returns:
        Their records.
    """
    console = Console(file=sys.stderr, quiet=quiet, highlight=False)
    followers = [Follower(client, experiment) for experiment in experiments]
    display = _bars if console.is_terminal and not quiet else _lines
    display(console, followers)
    return [follower.record for follower in followers]


def _look(followers: Sequence[Follower]) -> None:
    running = [follower for follower in followers if not follower.ended]
    for follower in running:
        follower.look(wait=PAUSE if len(running) == 1 else 0.0)
    # Changes come about once a second; looking more often would show nothing more.
    time.sleep(0.2 if len(running) == 1 else PAUSE)


def _bars(console: Console, followers: Sequence[Follower]) -> None:
    shape = looks(console.width)
    with bars(console, shape) as progress:
        tasks = [
            progress.add_task(cut(follower.record["name"], shape.name), total=None, news="") for follower in followers
        ]
        while True:
            for task, follower in zip(tasks, followers, strict=True):
                _tell(progress.console, follower)
                _show(progress, task, follower, figures=shape.figures)
            if all(follower.ended for follower in followers):
                return
            _look(followers)


def _show(progress: Progress, task: TaskID, follower: Follower, *, figures: bool) -> None:
    record = follower.record
    newest = follower.figures() if figures and record["status"] != "queued" else ""
    # Before the first point the bar has no length, so that it pulses.
    started = record["progress"]["hyperiteration"] > 0 or follower.ended
    progress.update(
        task,
        completed=record["progress"]["hyperiteration"],
        total=record["progress"]["hyperiterations"] if started else None,
        news=(f"[cyan]{newest}[/]  " if newest else "") + f"[{colour(record)}]{to_come(record)}[/]",
    )


def _lines(console: Console, followers: Sequence[Follower]) -> None:
    told: dict[str, tuple[Any, float]] = {}
    while True:
        for follower in followers:
            record = follower.record
            _tell(console, follower)
            state, at = told.get(record["id"], (None, -math.inf))
            now = (record["status"], record["attempt"])
            if state != now or (not follower.ended and time.monotonic() - at > LINE_EVERY):
                told[record["id"]] = (now, time.monotonic())
                console.print(_line(follower), soft_wrap=True, markup=False)
        if all(follower.ended for follower in followers):
            return
        _look(followers)


def _tell(console: Console, follower: Follower) -> None:
    for warning in follower.warnings():
        console.print(warning, style="yellow", soft_wrap=True, markup=False)


def _warning(record: Record, data: Mapping[str, Any]) -> str:
    where = f"at hyperiteration {data['hyperiteration']}" if "hyperiteration" in data else ""
    return f"{record['id'][:8]}  warning {where}: {data.get('message', data)}"


def _line(follower: Follower) -> str:
    record = follower.record
    progress = record["progress"]
    steps = f"{progress['hyperiteration']}/{progress['hyperiterations']}"
    parts = (record["id"][:8], record["status"], steps, follower.figures())
    to_go = to_come(record)
    return "  ".join(part for part in (*parts, to_go if to_go != record["status"] else "") if part)
