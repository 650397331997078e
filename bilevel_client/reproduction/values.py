"""Numbers of a report: a mean with its interval, over seeds or over episodes; rows against the paper's."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bilevel_client.reproduction.document import Section, Text
from bilevel_client.reproduction.study import Found, Member, Results


class Value(NamedTuple):
    """A metric in natural units."""

    mean: float
    interval: float
    """Half of the 95 % interval: over seeds where there are several (Student's t), else over episodes or examples."""
    seeds: int


STUDENT = {2: 12.706, 3: 4.3027, 4: 3.1824, 5: 2.7764, 6: 2.5706, 7: 2.4469, 8: 2.3646, 9: 2.306, 10: 2.2622}


def student(values: int) -> float:
    """0.975 quantile of Student's t with one degree of freedom less than there are values."""
    if values in STUDENT:
        return STUDENT[values]
    z, freedom = statistics.NormalDist().inv_cdf(0.975), values - 1  # Abramowitz and Stegun 1964, 26.7.5
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def measured(members: Sequence[Member], metric: str = "accuracy") -> Value | None:
    """The test metric of the outer variables that validation chose; None: no member has succeeded."""
    return mean_of([member.result["test"][metric] for member in members])


def mean_of(metrics: Sequence[Mapping[str, Any]]) -> Value | None:
    """Of one metric {"mean", "ci95", ...} a seed, as results have it; None: there is none."""
    if not metrics:
        return None
    values = [float(each["mean"]) for each in metrics]
    if len(values) == 1:
        return Value(values[0], float(metrics[0]["ci95"]), 1)
    error = statistics.stdev(values) / math.sqrt(len(values))
    return Value(statistics.fmean(values), student(len(values)) * error, len(values))


def percent(value: Value | None) -> str:
    """An accuracy with its interval; nothing if there is none."""
    return "" if value is None else f"{100 * value.mean:.2f} ± {100 * value.interval:.2f}"


COLUMNS = ("", "the paper", "ours", "difference", "seeds")
INTERVALS = Text(
    "± is half of a 95 % interval: by Student's t over seeds where several have succeeded, else over the episodes or "
    "examples of the one experiment."
)


def against(
    name: str, paper: float | None, found: Found | None, ours: Value | None, *, bar: float | None = None
) -> list[str]:
    """A row of accuracies in per cent: the paper's, ours with its interval, the difference in points.

    With a `bar`, whether the stage in which ours was `found` meets it stands beside ours.
    """
    said = "" if paper is None else f"{paper:.2f}"
    if ours is None:
        return [name, said, absent(found), "", ""]
    shown = percent(ours) + ("" if bar is None else verdict(found, 100 * ours.mean, bar))
    difference = "" if paper is None else f"{100 * ours.mean - paper:+.2f}"
    return [name, said, shown, difference, str(ours.seeds)]


def verdict(found: Found | None, value: float, bar: float) -> str:
    """Whether a figure of the stage is as high as it is to be at least; nothing where the stage is not the study's."""
    if found is None or found.stage.changed:
        return ""
    return f" (bar {bar:g}: {'met' if value >= bar else 'missed'})"


def absent(found: Found | None) -> str:
    """What stands in the place of a figure of a stage without one: that it was not run, or how it ended."""
    return ended(found.members) if found and found.members else "not run"


def ended(members: Sequence[Member]) -> str:
    """How experiments ended that did not succeed."""
    return ", ".join(dict.fromkeys(member.status for member in members if not member.result))


def ending(results: Results) -> list[Section]:
    """The last sections of every report: what did not succeed, if anything, and what the rest was made with."""
    unfinished = _unfinished(results)
    failures = [Section("Did not succeed", unfinished)] if unfinished else []
    return [*failures, Section("Made with", [_made_with(results)])]


def _made_with(results: Results) -> Text:
    """Dates, devices and versions, from the results themselves."""
    found: dict[str, None] = {}
    for stage in results.values():
        for member in stage.succeeded:
            found[f"{stage.date}: {_environment(member.result['environment'])}"] = None
    return Text("- " + "\n- ".join(found) if found else "Nothing has been run.")


def _environment(made: Mapping[str, Any]) -> str:
    commit, changed, note = str(made["git_revision"] or "").partition("+")
    revision = f" ({commit[:10]}{changed}{note})" if commit else ""
    device = made.get("device_name") or made["device"]
    versions = f"Bilevel {made['bilevel']}{revision}, torch {made['torch']}, Python {made['python']}"
    return f"{versions}, {device}, {made['threads']} thread{'' if made['threads'] == 1 else 's'}"


def _unfinished(results: Results) -> list[Text]:
    """What failed or was cancelled, with its reason, and how to try it again."""
    lost = [(found, member) for found in results.values() for member in found.members if not member.result]
    if not lost:
        return []
    sweeps = {member.sweep: f"`bilevel sweeps retry {member.sweep}`" for _, member in lost if member.sweep}
    again = Text(f"To run them again: {', '.join(sweeps.values())}; then the command below takes them in.")
    lines = [_line(found, member) for found, member in lost]
    return [Text("- " + "\n- ".join(lines)), *([again] if sweeps else [])]


def _line(found: Found, member: Member) -> str:
    values = ", ".join(f"{name.rsplit('.', 1)[-1]} = {value}" for name, value in member.parameters.items())
    sweep = f" of the sweep `{member.sweep[:8]}`" if member.sweep else ""
    which = f"{found.stage.name} ({values}; `{member.experiment[:8]}`{sweep})"
    return f"{which}: {member.status}. {member.error or ''}".strip()


def cost(members: Sequence[Member]) -> str:
    """How many hyperiterations there were, and the seconds of one."""
    if not members:
        return ""
    seconds = statistics.fmean(float(member.result["timing"]["seconds_per_hyperiteration"]) for member in members)
    count = members[0].result["final"]["hyperiteration"]
    return f"{count} hyperiteration{'' if count == 1 else 's'} of {seconds:.3g} s"
