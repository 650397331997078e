"""What meta-validation says: its curve, the hyperiteration that it chooses, and a choice of T by it (figure 4)."""

from collections.abc import Sequence

from bilevel_client.reproduction.document import Picture, Section, Table, Text
from bilevel_client.reproduction.figures import Band, complement, lines, over_seeds
from bilevel_client.reproduction.study import Found, Member
from bilevel_client.reproduction.values import cost, measured, percent

FIELD = "algorithm.steps"


def accuracy_by_hyperiteration(members: Sequence[Member]) -> Band:
    """Of experiments that differ by their seed and have succeeded."""
    return over_seeds([member.curves["validation/accuracy"] for member in members])


DETAILS = ("", "batch statistics", "running statistics", "hyperiteration chosen", "cost")


def details(name: str, members: Sequence[Member]) -> list[str]:
    """A row of such a table: meta-test accuracy with either statistics in the norms, and where it was chosen."""
    both = [percent(measured(members, f"accuracy_{which}_statistics")) for which in ("batch", "running")]
    return [name, *both, _chosen(members), cost(members)]


def choice_of_steps(found: Found, name: str) -> Section:
    """Accuracies of every T of a stage whose grid is over it, and which one meta-validation chooses."""
    groups = [(int(parameters[FIELD]), members) for parameters, members in found.cells() if members]
    if not groups:
        return Section("T", [Text("No experiment has succeeded.")])
    on_validation = {steps: sum(map(_validation, members)) / len(members) for steps, members in groups}
    chosen = max(on_validation, key=on_validation.__getitem__)
    rows = [
        [
            f"T = {steps}{' (chosen)' if steps == chosen else ''}",
            f"{100 * on_validation[steps]:.2f}",
            percent(measured(members)),
            _chosen(members),
            cost(members),
        ]
        for steps, members in groups
    ]
    bands = {f"T = {steps}": accuracy_by_hyperiteration(members) for steps, members in groups}
    title = f"Meta-validation error of {name}"
    figure = lines(complement(bands), title=title, y="1 - accuracy", fraction=True, logarithmic=True)
    columns = ("", "meta-validation", "meta-test", "hyperiteration chosen", "cost")
    caption = "Errors as in figure 4 of the paper: T, and the hyperiteration, are chosen on meta-validation alone."
    return Section("T", [Table(columns, rows), Picture("steps", caption, figure)])


def _chosen(members: Sequence[Member]) -> str:
    return ", ".join(str(member.result["best"]["hyperiteration"]) for member in members)


def _validation(member: Member) -> float:
    return float(member.result["best"]["validation"]["accuracy"]["mean"])
