"""From tensors to points: values are read from the device in batches, so that the loop does not wait for each."""

import math
import time
from collections.abc import Mapping

import torch
from torch import Tensor

from core.errors import Diverged
from core.recording import Recorder
from core.thresholds import Memory, Watched, look

BATCH_SECONDS = 0.1
"""Values younger than this may wait for others to be read with them."""
SEPARATE = 32
"""Longest vector of outer variables whose entries are series of their own; longer ones give min, mean and max."""


class Series:
    """Holds the values of the last few hyperiterations and hands them to the recorder together.

    Args:
        recorder: where the points go, and a `warning` for each threshold that is crossed.
        watched: the series that have thresholds.
        seen: what is remembered of them.
    """

    def __init__(self, recorder: Recorder, watched: Mapping[str, Watched] | None = None, seen: Memory | None = None):
        self._recorder = recorder
        self._watched = watched or {}
        self.seen: Memory = seen or {}
        self._pending: list[tuple[int, dict[str, Tensor]]] = []
        self._since = 0.0
        self._seconds = 0.0

    def start(self) -> None:
        """A hyperiteration starts now."""
        if not self._pending:
            self._since = time.perf_counter()

    def add(self, k: int, values: Mapping[str, Tensor], natural: Mapping[str, Tensor]) -> None:
        """What hyperiteration k gave, and the outer variables in natural units.

        Raises:
            Diverged: a hypergradient among those read now is not finite.
        """
        self._pending.append((k, {**values, **outer_series(natural)}))
        if time.perf_counter() - self._since > BATCH_SECONDS:
            self._read()

    def drain(self) -> float:
        """Hands over everything held; the seconds that hyperiterations took since the last call.

        Raises:
            Diverged: a hypergradient among them is not finite.
        """
        self._read()
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def add_outer(self, k: int, natural: Mapping[str, Tensor]) -> None:
        """The outer variables after the last hyperiteration."""
        named = outer_series(natural)
        self._recorder.points(k, dict(zip(named, _numbers(list(named.values())), strict=True)))

    def _read(self) -> None:
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        numbers = iter(_numbers([value for _, values in pending for value in values.values()]))
        elapsed = time.perf_counter() - self._since
        self._seconds += elapsed
        for k, values in pending:
            point = {name: next(numbers) for name in values}
            # "seconds" is the mean of those read together: kernels of a GPU run behind the loop.
            self._recorder.points(k, {**point, "seconds": elapsed / len(pending)})
            self._warn(k, point)
            self._check(k, point)

    def _warn(self, k: int, point: Mapping[str, float]) -> None:
        self.seen, warnings = look(self._watched, self.seen, k, point)
        for warning in warnings:
            self._recorder.event("warning", warning)

    def _check(self, k: int, point: Mapping[str, float]) -> None:
        if math.isfinite(point["hypergradient_norm"]) and math.isfinite(point["outer_objective"]):
            return
        self._recorder.flush()
        raise Diverged(_diverged(k, point), hyperiteration=k)


def _diverged(k: int, point: Mapping[str, float]) -> str:
    outer, inner = point["outer_objective"], point.get("inner_objective_end")
    seen = f"outer objective {outer:.3g}" + ("" if inner is None else f", inner objective at w_T {inner:.3g}")
    lower = "lower the rate of the inner dynamics" + (" or of the outer optimizer" if k else "")
    if inner is None or not math.isfinite(inner) or math.isinf(outer):
        advice = f"{lower}."
    elif math.isnan(outer):
        advice = (
            "the inner objective is finite: look in the outer objective for what is no number, such as 0/0, the "
            "logarithm or root of a negative number, or NaN in its data."
        )
    else:
        advice = (
            "both objectives are finite: look in them for what has no derivative, such as a root or a norm at 0, or "
            f"{lower}."
        )
    return f"The hypergradient at hyperiteration {k} is not finite ({seen}): {advice}"


def outer_series(natural: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scalars by name: outer/<name>, outer/<name>/<i>, or outer/<name>/<min, mean, max> of a long vector."""
    found: dict[str, Tensor] = {}
    for name, value in natural.items():
        if value.ndim == 0:
            found[f"outer/{name}"] = value
        elif value.numel() <= SEPARATE:
            found |= {f"outer/{name}/{i}": entry for i, entry in enumerate(value.reshape(-1).unbind())}
        else:
            found |= {f"outer/{name}/{part}": getattr(value, part)() for part in ("min", "mean", "max")}
    return found


def _numbers(values: list[Tensor]) -> list[float]:
    """All scalars in one transfer from the device."""
    if not values:
        return []
    common = torch.float64 if any(value.dtype == torch.float64 for value in values) else torch.float32
    # Some are made on the CPU, as counts of iterations are, whatever the device of the others.
    device = next((value.device for value in values if value.device.type != "cpu"), values[0].device)
    read: list[float] = torch.stack([value.to(device, common) for value in values]).tolist()
    return read
