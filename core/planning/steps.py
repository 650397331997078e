"""One step of the inner dynamics: its work and memory, and those of its derivatives."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from core.bilevel.limits import FEW
from core.planning.costs import Costs
from core.planning.work import NARROW, Work
from core.spec import algorithms

NODE_BYTES = 400.0
"""What an operator leaves in a graph beside its tensors."""
LEAF_BYTES = 5000.0
"""What a kept tensor takes beside its numbers, with what the allocator leaves around it."""
MOMENTS = 1.2
"""What a state with a velocity or moments takes over its numbers, as measured."""


@dataclass(frozen=True)
class Need:
    """What one hyperiteration takes."""

    work: Mapping[str, Work]
    """By part."""
    memory: Mapping[str, float]
    """Bytes that are held at the same time, by part."""
    notes: tuple[str, ...] = field(default=())
    """What a reader should know of the figures."""


@dataclass(frozen=True)
class Step:
    """One step of the inner dynamics."""

    once: Work
    """s_t from s_{t-1}."""
    state: float
    """Bytes of an iterate that is kept."""
    graph: float
    """Bytes of its graph."""
    numbers: int
    """Numbers in a state."""
    back: Work | None = None
    """The way back through it, where that is written out."""
    overhead: float = 1.0
    """As that of `Costs`."""

    @property
    def recorded(self) -> Work:
        """A step and its graph, and the way back through it: unrolled."""
        return Work(2.6 * self.once.operations, 2.6 * self.once.traffic, 1.3 * self.overhead * self.once.operators)

    @property
    def pulled(self) -> Work:
        """A vector-Jacobian product of the step, which runs it anew."""
        if self.back is not None:
            return self.back
        return Work(2.4 * self.once.operations, 2.6 * self.once.traffic, 2.2 * self.overhead * self.once.operators)

    def pushed(self, tangents: int, numbers: int) -> Work:
        """The step with so many tangents at once, whose arguments have so many numbers."""
        # Of few numbers tangents take a pass more, and fewer operators.
        times, operators = (3 + 2.2 * tangents, 5) if numbers <= FEW else (1 + 1.8 * tangents, 17)
        calls = operators * self.overhead * self.once.operators
        return Work(times * self.once.operations, times * self.once.traffic, calls)


def step_of(dynamics: algorithms.Dynamics, costs: Costs) -> Step:
    """A step of the dynamics."""
    gradients = 1.0
    match dynamics:
        case algorithms.GradientDescent():
            vectors, operators = 1, 2
        case algorithms.HeavyBall() | algorithms.Nesterov():
            vectors, operators = 2, 5
        case algorithms.RmsProp():
            vectors, operators = 2, 8
        case algorithms.AdamDynamics() | algorithms.AdamW():
            vectors, operators = 3, 13
        case algorithms.LineSearch():
            vectors, operators, gradients = 1, 4, 1.4  # a trial sees the objective only, at a third of a gradient
        case _:
            assert_never(dynamics)
    update = Work(0, costs.item * costs.variables * (3 * operators), operators * costs.leaves)
    gradient = written_out(costs, 3) if costs.analytic else costs.gradient
    if isinstance(dynamics, algorithms.LineSearch):
        gradient = replace(gradient, operators=costs.by_tape * gradient.operators)
    once = gradients * gradient + update
    return Step(
        overhead=costs.overhead,
        once=once,
        state=(MOMENTS if vectors > 1 else 1) * vectors * (costs.item * costs.variables + LEAF_BYTES * costs.leaves),
        graph=costs.graph + NODE_BYTES * once.operators + 0.4 * costs.item * costs.variables * operators,
        numbers=vectors * costs.variables,
    )


def written_out(costs: Costs, operators: float) -> Work:
    """A gradient of a linear model in products of the scores, classes first, rows in chunks that stay in the cache.

    Few classes then cost less than a narrow product; numbers of twice the size leave the cache sooner. As measured.
    """
    share = (0.19 + costs.classes / NARROW) * math.sqrt(costs.item / 4)
    return Work(min(share, 1) * costs.gradient.operations, 0.5 * costs.gradient.traffic, operators)


def analytic_step(costs: Costs) -> Step:
    """A step of a linear model, written out: plain operators, each at half the price of one in a gradient."""
    once = written_out(costs, 2)
    return Step(
        once=once,
        state=float(costs.item * costs.variables),
        graph=costs.graph + 6 * costs.item * costs.variables,
        numbers=costs.variables,
        back=Work(1.5 * once.operations, 1.5 * once.traffic, 4),
    )


def overall(memory: Mapping[str, float]) -> float:
    """Bytes of all parts."""
    return math.fsum(memory.values())
