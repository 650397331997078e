"""Whether an assumption of the convergence theorem is met, and why."""

from typing import Literal, NamedTuple

Status = Literal["by construction", "measured", "not met"]


class Verdict(NamedTuple):
    """Whether an assumption is met, and why."""

    status: Status
    """`measured`: the spec alone does not say; series do."""
    reason: str


def met(reason: str) -> Verdict:
    """By what the spec says."""
    return Verdict("by construction", reason)


def not_met(reason: str) -> Verdict:
    """Or not known to be."""
    return Verdict("not met", reason)
