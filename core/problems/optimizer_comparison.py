"""A learned optimizer against SGD, momentum and Adam, on tasks that none of them was fitted to.

Each of the three has the rate of a logarithmic grid that gives the lowest mean loss after the last step on the
validation tasks, for each number of steps; the figures are of the test tasks.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.bilevel import dynamics
from core.bilevel.derivatives import taking
from core.bilevel.problem import Dynamics
from core.problems.instance import metric
from core.problems.optimization_tasks import Stacked
from core.spec.learned_reports import OPTIMIZER_RATES

MOMENTUM = 0.9
POINTS = 10
"""Of a curve."""

Walk = Callable[[Stacked], Iterator[Tensor]]
"""Tasks -> theta_1, theta_2, ... [tasks, n], without an end."""


class Comparison(NamedTuple):
    """Who is compared on what."""

    validation: Callable[[], Iterator[Stacked]]
    test: Callable[[], Iterator[Stacked]]
    learned: Walk


def compare(comparison: Comparison, horizons: Mapping[str, int]) -> dict[str, Any]:
    """By the name of each horizon: final losses on the test tasks with 95 % intervals, curves, and the tuned rates."""
    tuned = {name: _tune(make, comparison.validation, tuple(horizons.values())) for name, make in OTHERS.items()}
    found: dict[str, Any] = {"rates": list(OPTIMIZER_RATES), "momentum": MOMENTUM}
    start = torch.cat([tasks.losses(None, tasks.start) for tasks in comparison.test()])
    found["start"] = metric(start, "episodes").plain()
    for name, steps in horizons.items():
        marks = _marks(steps)
        found[name] = {"steps": steps, "learned": _curve(comparison.learned, comparison.test, marks)}
        for other, make in OTHERS.items():
            rate, edge = tuned[other][steps]
            values = _curve(partial(_walk, make, rate), comparison.test, marks)
            found[name][other] = {"rate": rate, "at_the_edge_of_the_grid": edge, **values}
    return found


def _marks(steps: int) -> list[int]:
    return sorted({max(1, round(steps * i / POINTS)) for i in range(1, POINTS + 1)})


def _curve(walk: Walk, drawn: Callable[[], Iterator[Stacked]], marks: Sequence[int]) -> dict[str, Any]:
    """The last loss as a metric, and the mean losses after some steps."""
    losses = _losses(walk, drawn, marks)
    curve = {"steps": list(marks), "loss": losses.double().mean(1).tolist()}
    return {"loss": metric(losses[-1], "episodes").plain(), "curve": curve}


def _losses(walk: Walk, drawn: Callable[[], Iterator[Stacked]], marks: Sequence[int]) -> Tensor:
    """Losses after some steps [marks, tasks]."""
    found = []
    for tasks in drawn():
        steps = islice(enumerate(walk(tasks), 1), marks[-1])
        found.append(torch.stack([tasks.losses(None, theta) for t, theta in steps if t in marks]))
    return torch.cat(found, dim=1)


Make = Callable[[dynamics.StepObjective, dynamics.Init, float], Dynamics]
OTHERS: dict[str, Make] = {
    "sgd": lambda objective, init, rate: dynamics.gradient_descent(objective, init, rate=rate),
    "momentum": lambda objective, init, rate: dynamics.heavy_ball(objective, init, rate=rate, momentum=MOMENTUM),
    "adam": lambda objective, init, rate: dynamics.adam(objective, init, rate=rate),
}
"""What a learned optimizer is compared with."""


def _walk(make: Make, rate: float, tasks: Stacked) -> Iterator[Tensor]:
    objective = taking(lambda t, w, lam: (t, w), tasks.total(), 1)
    made, t = make(objective, lambda lam: tasks.start, rate), 0
    state = made.init(())
    while True:
        t += 1
        state = made.step(t, state, ())
        assert isinstance(state.w, Tensor)
        yield state.w


def _tune(make: Make, drawn: Callable[[], Iterator[Stacked]], horizons: Sequence[int]) -> dict[int, tuple[float, bool]]:
    """The best rate for each number of steps, and whether it is the smallest or largest of the grid."""
    marks = sorted(set(horizons))
    means = [_losses(partial(_walk, make, rate), drawn, marks).double().mean(1).tolist() for rate in OPTIMIZER_RATES]
    best = {}
    for mark, steps in enumerate(marks):
        scores = [mean[mark] if math.isfinite(mean[mark]) else math.inf for mean in means]
        chosen = scores.index(min(scores))
        best[steps] = OPTIMIZER_RATES[chosen], chosen in (0, len(OPTIMIZER_RATES) - 1)
    return best
