"""What algorithms that draw minibatches of both objectives take: counts of their oracles, on minibatches and on all.

P: gradient, Hessian and mixed product of L; H: the Hessian product alone; G: the gradient by w, G2: by w and lam;
E: the gradients of the outer objective. On average a hyperiteration takes
- SOBA, MA-SOBA, SABA: P + E;
- SRBA: 2 (P + E) on a minibatch, at the new and the old point; every `period`-th time P + E on all examples instead;
- stocBiO, AmIGO: inner steps G + linear steps H + P + E; TTSA: G + (linear steps - 1)/2 H + P + E;
- F2SA: inner steps (2 G + E) + 2 G2 + E; BOME, V-PBGD: inner steps G + 2 G2 + E + two values of L.
"""

from typing import NamedTuple, assert_never

from core.planning.costs import Costs
from core.planning.networks import GRADIENT_HOLDS, VALUE
from core.planning.steps import NODE_BYTES, Need
from core.planning.work import Work
from core.spec import stochastic as spec
from core.spec.algorithms import Joint

DRAW = Work(operators=3)
"""A block from its generator."""


class Oracles(NamedTuple):
    """What one call of each takes."""

    gradient: Work
    gradients: Work
    hessian: Work
    products: Work
    outer: Work
    value: Work


def _oracles(costs: Costs) -> Oracles:
    """On the examples that the costs are those of."""
    g = costs.differentiated
    return Oracles(
        gradient=costs.gradient + DRAW,
        gradients=1.1 * g + DRAW,
        hessian=Work(2.2 * g.operations, 2.2 * g.traffic, 1.6 * g.operators) + DRAW,
        products=Work(2.4 * g.operations, 2.4 * g.traffic, 1.9 * g.operators) + DRAW,
        outer=costs.objective + DRAW,
        value=VALUE * g,
    )


def stochastic(chosen: spec.AnyStochastic, costs: Costs, whole: Costs) -> Need:
    """One hyperiteration, on average; `whole` are the costs of a gradient that sees all examples."""
    inner, outer = costs.blocks
    largest = max(costs.graph, whole.graph) if isinstance(chosen, spec.Srba) else costs.graph
    vector = costs.item * (2 * costs.variables + costs.outer)
    work = {"oracles on minibatches": _on_minibatches(chosen, costs), "steps": _steps(chosen, costs)}
    memory = {
        "graph of a gradient": GRADIENT_HOLDS * largest + 200 * NODE_BYTES,
        "inner variables and directions": 8.0 * vector,
    }
    kept = _kept(chosen, costs)
    if isinstance(chosen, spec.Srba):
        full = _oracles(whole)
        work["passes over all examples"] = 1 / _period(chosen, costs) * (full.products + full.outer)
    if isinstance(chosen, spec.Saba):
        pair = costs.item * (costs.variables + costs.outer)
        drawn = (min(count, chosen.hyperiterations) for count in costs.blocks)  # the others share their zeros
        memory["remembered directions"] = sum(count * size for count, size in zip(drawn, (vector, pair), strict=True))
        kept += inner * vector + outer * pair
    memory["a checkpoint of all that is kept"] = CHECKPOINT_COPIES * kept
    return Need(work, memory)


CHECKPOINT_COPIES = 3.0
"""The tensors that a checkpoint is packed from, their bytes, and the file."""


def _kept(chosen: spec.AnyStochastic, costs: Costs) -> float:
    """Bytes from one hyperiteration to the next, but for what SABA remembers."""
    points = 2 if isinstance(chosen, spec.Srba) else 1
    return costs.item * (2 * points * costs.variables + costs.outer * (points + isinstance(chosen, spec.MaSoba)))


def _period(chosen: spec.Srba, costs: Costs) -> int:
    return chosen.period or sum(costs.blocks)


def _on_minibatches(chosen: spec.AnyStochastic, costs: Costs) -> Work:
    ask = _oracles(costs)
    match chosen:
        case spec.Soba() | spec.MaSoba() | spec.Saba():
            return ask.products + ask.outer
        case spec.Srba():
            return 2 * (1 - 1 / _period(chosen, costs)) * (ask.products + ask.outer)
        case spec.StocBio() | spec.Amigo():
            inner = chosen.inner_steps * ask.gradient
            return inner + chosen.linear_steps * ask.hessian + ask.products + ask.outer
        case spec.Ttsa():
            return ask.gradient + (chosen.linear_steps - 1) / 2 * ask.hessian + ask.products + ask.outer
        case spec.F2sa():
            return chosen.inner_steps * (2 * ask.gradient + ask.outer) + 2 * ask.gradients + ask.outer
        case spec.Bome() | spec.Pbgd():
            return chosen.inner_steps * ask.gradient + 2 * ask.gradients + ask.outer + 2 * ask.value
        case _:
            assert_never(chosen)


def _steps(chosen: spec.AnyStochastic, costs: Costs) -> Work:
    """Updates and norms; sums of trees for those that remember."""
    passes = 30 if isinstance(chosen, spec.Saba) else 22 if isinstance(chosen, spec.MaSoba | spec.Srba) else 20
    vector = costs.item * (2 * costs.variables + costs.outer)
    return Work(0, passes * vector, passes * costs.leaves)


def inner_steps(chosen: spec.AnyStochastic | Joint) -> int:
    """Steps of the inner variables a hyperiteration."""
    return getattr(chosen, "inner_steps", 1)
