"""What a plan says; its fields are the public contract."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from core.planning.work import Device

PROCESS = "process"
"""Name of the part that every plan's memory has: what a child process holds before it has loaded anything."""
LOADING = "loading the data"
"""Name of the part that a plan's memory has where loading takes more than all that comes after it: how much more."""


class Part(BaseModel):
    """What all parts of a plan have in common: what stands below a field describes it."""

    model_config = ConfigDict(use_attribute_docstrings=True, frozen=True)


class Sizes(Part):
    """How large the problem is."""

    inner_variables: int
    """Numbers in the inner variables (of all tasks of a meta-batch together)."""
    outer_variables: int
    """Numbers in the outer variables, those of the inner dynamics included."""
    inner_steps: int
    """Steps of the inner variables in a hyperiteration."""
    hyperiterations: int
    """Outer steps."""


class MemoryPart(Part):
    """Memory that one part of the experiment holds."""

    part: str
    """What it is, in words."""
    mb: float
    """MiB."""


class Memory(Part):
    """Main memory of the child process (on a GPU: with that of the device)."""

    parts: list[MemoryPart]
    """What is held when most is held, largest method parts included; parts of less than 0.05 MiB are left out."""
    peak_mb: float
    """MiB at the peak, as `memory.peak_mb` of a result."""
    limit_mb: float | None
    """MiB that it may take: `resources.memory_limit`, or else what the device has; null: not known."""
    fits: bool | None
    """Whether the peak is within the limit; null where there is none."""


class TimePart(Part):
    """Time of one part of a hyperiteration."""

    part: str
    """What it is, in words."""
    seconds: float
    """Seconds a hyperiteration, on average."""


class Time(Part):
    """Wall-clock time."""

    parts: list[TimePart]
    """What a hyperiteration is spent on."""
    hyperiteration_seconds: float
    """Seconds of one hyperiteration."""
    evaluation_seconds: float
    """Seconds of one evaluation."""
    evaluations: int
    """How many evaluations there are."""
    closing_seconds: float
    """Seconds of the report at the end."""
    total_seconds: float
    """Seconds in all, without waiting for a slot and loading the data."""
    limit_seconds: float | None
    """`resources.time_limit`; null: none."""
    fits: bool | None
    """Whether the total is within the limit; null where there is none."""


class Way(Part):
    """A way to the hypergradient, or to the directions of an algorithm; everything else is as in the spec."""

    name: str
    """Short, for people."""
    set: dict[str, Any]
    """What to set in the spec, by field: `{"algorithm.hypergradient": {...}}`; empty: as it is."""
    same: bool
    """Whether it gives the same hypergradient as the spec's, to round-off; other minibatches do not."""
    memory_mb: float | None
    """MiB at the peak; null where it is not possible."""
    hyperiteration_seconds: float | None
    """Seconds of one hyperiteration; null where it is not possible."""
    fits: bool | None
    """Whether it fits in the memory limit; null where there is none."""
    reason: str | None
    """Why it is not possible for this spec; null where it is."""


class Assumption(Part):
    """An assumption of the paper's convergence theorem (Franceschi et al. 2018, section 3), and whether it is met."""

    model_config = ConfigDict(extra="allow")

    name: str
    statement: str
    """What it says."""
    status: str
    """`by construction`, `measured` (the series named by `series` say), `not known` (of a package's code, of which its
    author alone could say) or `not met`."""
    reason: str


class Plan(Part):
    """What an experiment will cost; nothing is run or stored."""

    verdict: str
    """In a sentence or two: what it takes, whether that fits, and what would if it does not."""
    device: Device
    """The rates that it is reckoned with."""
    sizes: Sizes
    memory: Memory | None
    """Null where a part of the spec has no model; `notes` say which."""
    time: Time | None
    """Null where a part of the spec has no model; `notes` say which."""
    ways: list[Way]
    """The spec's own way to the hypergradient first, then the others, the least memory last."""
    remedy: Way | None
    """The quickest way that fits in the memory limit, those with the same hypergradient first; where minibatches are
    drawn, the one that changes least: another algorithm, else the nearest size. Null: none is needed or none fits."""
    assumptions: list[Assumption]
    notes: list[str]
    """What a reader should know of the figures."""
