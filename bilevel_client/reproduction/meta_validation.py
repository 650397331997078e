"""What meta-validation says: its curve, the hyperiteration that it chooses, and a choice of T by it (figure 4)."""

import re
import statistics
from collections.abc import Mapping, Sequence

from bilevel_client.reproduction.document import Picture, Section, Table, Text
from bilevel_client.reproduction.figures import Band, complement, lines, over_seeds
from bilevel_client.reproduction.study import Found, Member
from bilevel_client.reproduction.values import cost, ended, measured, percent

FIELD = "algorithm.steps"
"""T, in a grid."""


def accuracy_by_hyperiteration(members: Sequence[Member]) -> Band:
    """Of experiments that differ by their seed and have succeeded."""
    return over_seeds([member.curves["validation/accuracy"] for member in members])


def accuracies(name: str, stages: Mapping[str, Sequence[Member]]) -> list[Picture]:
    """The curve of each stage that has succeeded, in one picture; none where there is none."""
    bands = {stage: accuracy_by_hyperiteration(members) for stage, members in stages.items() if members}
    if not bands:
        return []
    figure = lines(bands, title="Meta-validation accuracy", y="accuracy", fraction=True)
    return [Picture(name, "Accuracy on meta-validation episodes.", figure)]


DETAILS = ("", "batch statistics", "running statistics", "hyperiteration chosen", "cost")


def details(name: str, members: Sequence[Member]) -> list[str]:
    """A row of such a table: meta-test accuracy with either statistics in the norms, and where it was chosen."""
    both = [percent(measured(members, f"accuracy_{which}_statistics")) for which in ("batch", "running")]
    return [name, *both, _chosen(members), cost(members)]


def by_steps(found: Found) -> dict[int, list[Member]]:
    """The experiments that have succeeded of a stage whose grid is over T, by T."""
    return {int(parameters[FIELD]): members for parameters, members in found.cells() if members}


def chosen_steps(groups: Mapping[int, Sequence[Member]]) -> int:
    """The T that is best on meta-validation in the mean over seeds, of those for which the most have succeeded.

    Data are split by the seed: means over other seeds are those of other validation sets.
    """
    most = max(map(len, groups.values()))
    whole = {steps: members for steps, members in groups.items() if len(members) == most}
    return max(whole, key=lambda steps: statistics.fmean(map(Member.quality, whole[steps])))


def choice_of_steps(found: Found, name: str) -> Section:
    """Accuracies of every T of a stage whose grid is over it, and which one meta-validation chooses."""
    groups = by_steps(found)
    title = f"Choice of T: {name}"
    if not groups:
        return Section(title, [Text("No experiment has succeeded.")])
    chosen = chosen_steps(groups)
    rows = []
    for parameters, members in found.cells():
        named = f"T = {parameters[FIELD]}{' (chosen)' if parameters[FIELD] == chosen else ''}"
        if not members:
            rows.append([named, "", ended(found.every(steps=parameters[FIELD])), "", "", ""])
            continue
        validation = f"{100 * statistics.fmean(map(Member.quality, members)):.2f}"
        rows.append([named, validation, percent(measured(members)), str(len(members)), _chosen(members), cost(members)])
    table = Table(("", "meta-validation", "meta-test", "seeds", "hyperiteration chosen", "cost"), rows)
    bands = {f"T = {steps}": accuracy_by_hyperiteration(members) for steps, members in groups.items()}
    if not any(is_curve(band) for band in bands.values()):
        return Section(title, [table])
    error = f"Meta-validation error of {name}"
    figure = lines(complement(bands), title=error, y="1 - accuracy", fraction=True, logarithmic=True)
    caption = "Errors as in figure 4 of the paper: T, and the hyperiteration, are chosen on meta-validation alone."
    return Section(title, [table, Picture("steps_" + re.sub(r"\W+", "_", name), caption, figure)])


def is_curve(band: Band) -> bool:
    """Whether there is more than one hyperiteration."""
    return band.x[-1] > 1


def _chosen(members: Sequence[Member]) -> str:
    return ", ".join(str(member.result["best"]["hyperiteration"]) for member in members)
