"""A few-shot hyperiteration on a GPU, over a floor whose kernels are replayed from a CUDA graph, too.

`python -m benchmarks few_shot_cuda`; a call is `IN_A_ROW` hyperiterations, as a GPU works behind the loop that feeds
it, and ends with the device at rest. All candidates end with the optimizer's step, launched one by one. Peaks are of
the host.
"""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import torch

from benchmarks import few_shot
from benchmarks.few_shot import OFTEN, SETTINGS, STEPS, Stated, hyperiteration, state, whole_loop
from benchmarks.measure import Comparison, compare
from core.bilevel.graphs import Capture, capture_cuda, places_like, replayed
from core.numerics import numerics
from core.spec.experiment import Resources

IN_A_ROW = 10
FORMATS: dict[str, dict[str, Any]] = {"tf32": {"tf32": True}, "bf16": {"precision": "bf16"}}


def main(rounds: int) -> Iterator[Comparison]:
    """Three settings: numbers of inner steps, formats, and the whole loop as users run it."""
    if not torch.cuda.is_available():
        raise SystemExit("few_shot_cuda: no CUDA device")
    for setting in SETTINGS:
        name = f"{setting['way']}-way {setting['shot']}-shot, meta-batch {setting['meta_batch']}"
        yield compare(
            f"{IN_A_ROW} few-shot hyperiterations",
            f"{name}, {torch.cuda.get_device_name()}",
            candidates(setting, "cuda"),
            rounds,
        )


def candidates(
    setting: dict[str, int], device: str, capture: Capture = capture_cuda
) -> dict[str, Callable[[], object]]:
    """The floor, and what is measured against it."""
    once = state(setting, OFTEN, device=device)
    found: dict[str, Callable[[], object]] = {
        "floor, from a graph": _at_rest(floor_from_graph(once, capture)),
        "floor, kernel by kernel": _at_rest(few_shot.floor(once)),
    }
    for steps in STEPS:
        found[f"dual walk, T = {steps}"] = _at_rest(hyperiteration(state(setting, steps, device=device)))
    for name, resources in FORMATS.items():
        made = hyperiteration(state(setting, OFTEN, device=device, resources=resources))
        found[f"{name}, T = {OFTEN}"] = _at_rest(made, **resources)
    found[f"whole loop, T = {OFTEN}"] = _at_rest(whole_loop(state(setting, OFTEN, device=device)))
    return found


def floor_from_graph(stated: Stated, capture: Capture) -> Callable[[], object]:
    """Forward and backward replayed, optimizer step."""
    passes, step = few_shot.forward_and_backward(stated), few_shot.optimizer_step(stated)
    recorded: list[Callable[[Any], Any]] = []

    @torch.no_grad()
    def run() -> object:
        if not recorded:
            recorded.append(replayed(passes, places_like(stated.state.lam), capture))
        return step(recorded[0](stated.state.lam))

    return run


def _at_rest(call: Callable[[], object], **resources: Any) -> Callable[[], object]:
    """Calls in a row with the numerics of a spec, and what they launched done."""

    @wraps(call)
    def run() -> object:
        with numerics(Resources(**resources)):
            found = [call() for _ in range(IN_A_ROW)][-1]
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return found

    return run
