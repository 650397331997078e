"""Time against T (table 2): over that of T = 1, and for each further step, which tells whether time is linear in T."""

from collections.abc import Mapping
from itertools import pairwise

from bilevel_client.reproduction.document import Text

PAPER = {"T = 1": 60.0, "T = 4": 119.0, "T = 16": 356.0, "T = 64": 1344.0, "T = 256": 5532.0}
"""Seconds in table 2."""
COMPARED = ("over T = 1", "each further step")
WORDS = Text(
    "Times are means over seeds and hyperiterations. `each further step` is by how much more a row takes than the one "
    "above it, for each step that it has more: where time is linear in T, it is the same in all rows. The paper's are "
    "those of its table 2, on a Tesla M40; of how many hyperiterations we do not know."
)


def compared(times: Mapping[str, float], unit: str) -> dict[str, list[str]]:
    """What `COMPARED` says of each time; they go by `T = 1`, `T = 4`, ..., rising, and may have others among them."""
    steps = {name: int(name.removeprefix("T = ")) for name in times if name.startswith("T = ")}
    further = {more: (times[more] - times[fewer]) / (steps[more] - steps[fewer]) for fewer, more in pairwise(steps)}
    return {
        name: [
            f"{time / times['T = 1']:.1f}" if "T = 1" in times else "",
            f"{further[name]:.3g} {unit}" if name in further else "",
        ]
        for name, time in times.items()
    }
