"""From a sweep to its plan: memory and time of every combination, and of all members together."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from core.planning.answer import Memory, Part, Time
from core.planning.costs import NotModelled
from core.planning.plan import reckon
from core.planning.verdict import duration, megabytes
from core.planning.work import Device
from core.spec import Experiment, Sweep
from core.spec.sweep import Member


class CellPlan(Part):
    """What each of the members costs that differ by their seeds alone."""

    parameters: dict[str, Any]
    """Field -> value, without the seed."""
    seeds: int
    """How many members these are."""
    device: str
    """Name of the device that it is reckoned for."""
    memory: Memory | None
    """Of one member; null where a part of the spec has no model."""
    time: Time | None
    """Of one member; null where a part of the spec has no model."""
    gap: str | None
    """What has no model; null where everything has."""


class SweepPlan(Part):
    """What a sweep will cost; nothing is run or stored."""

    verdict: str
    """In a few sentences: what it takes, and whether that fits."""
    members: int
    """Combinations times seeds."""
    peak_mb: float | None
    """MiB at the peak of the largest member; null where none has a model."""
    total_seconds: float | None
    """Seconds of all members one after the other, of those that have a model; null where none has."""
    devices: list[Device]
    """The rates that they are reckoned with."""
    cells: list[CellPlan]
    """The combinations in the order of the grid."""


def plan_sweep(sweep: Sweep, device_of: Callable[[Experiment], Device]) -> SweepPlan:
    """What every member will cost on its device, each member alone in a slot."""
    seeds = len(sweep.seeds or [sweep.base])
    firsts = sweep.members[::seeds]
    devices = [device_of(member.experiment) for member in firsts]
    cells = [_cell(member, seeds, device) for member, device in zip(firsts, devices, strict=True)]
    peak = max((cell.memory.peak_mb for cell in cells if cell.memory), default=None)
    total = math.fsum(seeds * cell.time.total_seconds for cell in cells if cell.time)
    return SweepPlan(
        verdict=_verdict(len(sweep.members), peak, total, cells),
        members=len(sweep.members),
        peak_mb=peak,
        total_seconds=None if peak is None else total,
        devices=list({device.name: device for device in devices}.values()),
        cells=cells,
    )


def _cell(member: Member, seeds: int, device: Device) -> CellPlan:
    parameters = {name: value for name, value in member.parameters.items() if name != "seed"}
    known = partial(CellPlan, parameters=parameters, seeds=seeds, device=device.name)
    try:
        memory, time, _ = reckon(member.experiment, device)
    except NotModelled as error:
        return known(memory=None, time=None, gap=str(error))
    return known(memory=memory, time=time, gap=None)


def _verdict(members: int, peak: float | None, total: float, cells: Sequence[CellPlan]) -> str:
    """What the members take together, and how many combinations do not fit."""
    gaps = [cell.gap for cell in cells if cell.gap is not None]
    why = [f"Not modelled: {gaps[0]}."] if gaps else []
    if peak is None:
        return why[0]
    of = f"of {_many(len(cells), 'combination')}"
    large = sum(cell.memory is not None and cell.memory.fits is False for cell in cells)
    slow = sum(cell.time is not None and cell.time.fits is False for cell in cells)
    takes = (
        f"{_many(members, 'member')}, one after the other: about {duration(total)}, none with more than "
        f"{megabytes(peak)}."
    )
    left_out = [f"Left out: {len(gaps)} {of}."] if gaps else []
    over = [f"Above the memory limit: {large} {of}; the plan of one says what would fit."] if large else []
    late = [f"Above the time limit: {slow} {of}."] if slow else []
    return " ".join([takes, *over, *late, *left_out, *why])


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
