"""A plan in a sentence or two."""

import json

from core.planning.answer import LOADING, PROCESS, Memory, Time, Way
from core.spec import Experiment


def verdict(spec: Experiment, memory: Memory, time: Time, remedy: Way | None, others: list[Way]) -> str:
    """What it takes, whether that fits, and what would if it does not."""
    takes = f"It needs about {megabytes(memory.peak_mb)} and {duration(time.total_seconds)}"
    sentences = [takes + (f", {_excess(memory)}." if memory.fits is False else ".")]
    if memory.fits is False:
        sentences.append(_mend(memory, time, remedy, others))
    elif memory.fits:
        sentences.append(f"That fits in the {megabytes(memory.limit_mb or 0)} it may take.")
    if time.fits is False:
        sentences.append(
            f"That is longer than the time limit of {duration(time.limit_seconds or 0)}: after it, about "
            f"{int((time.limit_seconds or 0) / time.hyperiteration_seconds)} of {spec.algorithm.hyperiterations} "
            "hyperiterations are done."
        )
    return " ".join(sentences)


def _excess(memory: Memory) -> str:
    """What the memory is taken by: the process, which is there always, and the largest of the other parts.

    Where loading the data is the peak, it is all of the rest: it is over before the other parts are there.
    """
    process = _process(memory)
    others = {part.part: part.mb for part in memory.parts if part.part != PROCESS}
    largest, size = max(others.items(), key=lambda part: part[1])
    if LOADING in others:
        largest, size = LOADING, memory.peak_mb - process
    return (
        f"more than the limit of {megabytes(memory.limit_mb or 0)}: {megabytes(process)} of it are the process before "
        f"it has loaded anything, {megabytes(size)} {largest}"
    )


def _process(memory: Memory) -> float:
    return sum(part.mb for part in memory.parts if part.part == PROCESS)


def _mend(memory: Memory, time: Time, remedy: Way | None, others: list[Way]) -> str:
    if _process(memory) > (memory.limit_mb or 0):
        return "The process alone is above the limit, whatever it runs: raise the limit."
    if remedy is None or remedy.memory_mb is None or remedy.hyperiteration_seconds is None:
        possible = [(way.memory_mb, way.name) for way in others if way.memory_mb is not None]
        least = f" (the least is {megabytes(min(possible)[0])}, `{min(possible)[1]}`)" if possible else ""
        return f"No other way fits either{least}: make the problem smaller or raise the limit."
    ratio = remedy.hyperiteration_seconds / time.hyperiteration_seconds
    same = "the same hypergradient" if remedy.same else "another estimate of the hypergradient"
    how = " and ".join(f"{field}={json.dumps(value)}" for field, value in remedy.set.items())
    return f"`{remedy.name}` fits: {megabytes(remedy.memory_mb)} and {ratio:.2g} x the time, {same} (set {how})."


def megabytes(mb: float) -> str:
    """MB below 10 000, GB above; MiB and GiB, as everywhere here."""
    return f"{mb:.0f} MB" if mb < 10_000 else f"{mb / 1024:.1f} GB"


def duration(seconds: float) -> str:
    """With the unit that a person would take."""
    for length, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    count = f"{seconds:.2g}" if seconds < 10 else f"{seconds:.0f}"
    return f"{count} second{'' if count == '1' else 's'}"
