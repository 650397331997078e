"""Numbers of a report: a mean with its interval, over seeds or over episodes; rows against the paper's."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bilevel_client.reproduction.document import Text
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
NOT_RUN = "not run"


def against(name: str, paper: float | None, ours: Value | None, *, bar: float | None = None) -> list[str]:
    """A row of accuracies in per cent: the paper's, ours with its interval, the difference in points.

    With a `bar`, what it is to reach at least stands beside ours.
    """
    said = "" if paper is None else f"{paper:.2f}"
    if ours is None:
        return [name, said, NOT_RUN, "", ""]
    shown = percent(ours)
    if bar is not None:
        shown += f" (bar {bar:g}: {'met' if 100 * ours.mean >= bar else 'missed'})"
    difference = "" if paper is None else f"{100 * ours.mean - paper:+.2f}"
    return [name, said, shown, difference, str(ours.seeds)]


def made_with(results: Results) -> Text:
    """Dates, devices and versions, from the results themselves."""
    found: dict[str, None] = {}
    for stage in results.values():
        for member in stage.succeeded:
            found[f"{stage.date}: {_environment(member.result['environment'])}"] = None
    return Text("- " + "\n- ".join(found) if found else "Nothing has been run.")


def _environment(made: Mapping[str, Any]) -> str:
    revision = f" ({str(made['git_revision'])[:10]})" if made["git_revision"] else ""
    device = made.get("device_name") or made["device"]
    versions = f"Bilevel {made['bilevel']}{revision}, torch {made['torch']}, Python {made['python']}"
    return f"{versions}, {device}, {made['threads']} thread{'' if made['threads'] == 1 else 's'}"


def unfinished(results: Results) -> list[Text]:
    """What failed or was cancelled, with its reason."""
    lines = [_line(stage, member) for stage in results.values() for member in stage.members if not member.result]
    return [Text("- " + "\n- ".join(lines))] if lines else []


def _line(found: Found, member: Member) -> str:
    values = ", ".join(f"{name.rsplit('.', 1)[-1]} = {value}" for name, value in member.parameters.items())
    return f"{found.stage.name} ({values}; `{member.experiment[:8]}`): {member.status}. {member.error or ''}".strip()


def cost(members: Sequence[Member]) -> str:
    """Seconds a hyperiteration, and how many there were."""
    if not members:
        return ""
    seconds = statistics.fmean(float(member.result["timing"]["seconds_per_hyperiteration"]) for member in members)
    count = members[0].result["final"]["hyperiteration"]
    return f"{seconds:.3g} s x {count}"
