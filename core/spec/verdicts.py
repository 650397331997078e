"""Whether an assumption of the convergence theorem is met, and why."""

from typing import Literal, NamedTuple

Status = Literal["by construction", "measured", "not known", "not met"]


class Verdict(NamedTuple):
    """Whether an assumption is met, and why."""

    status: Status
    """`measured`: the spec alone does not say; series do. `not known`: only the author of the code could say."""
    reason: str


def met(reason: str) -> Verdict:
    """By what the spec says."""
    return Verdict("by construction", reason)


def not_met(reason: str) -> Verdict:
    """By what the spec says."""
    return Verdict("not met", reason)


def not_known(reason: str) -> Verdict:
    """The code comes from a package, whose spec does not say."""
    return Verdict("not known", reason)
