"""What algorithms that draw minibatches of both objectives take: counts of their oracles.

P: gradient, Hessian and mixed product of L on a minibatch; H: the Hessian product alone; G: the gradient alone;
O: the gradients of E on a minibatch.
"""

from typing import assert_never

from core.planning.methods import NODE_BYTES, Need
from core.planning.problems import Costs
from core.planning.work import Work
from core.spec import stochastic as spec

RATIO_OF_FULL_PASSES = 3.0
"""Products of SRBA to those of SOBA: at the new and the old point, and a pass over all examples every period."""


def stochastic(chosen: spec.AnyStochastic, costs: Costs) -> Need:
    """One hyperiteration."""
    vector = costs.item * (2 * costs.variables + costs.outer)
    memory = {
        "graph of a minibatch": 2 * costs.graph + 200 * NODE_BYTES,
        "inner variables and directions": 8.0 * vector,
    }
    if isinstance(chosen, spec.Saba):
        inner, outer = costs.blocks
        remembered = inner * vector + outer * costs.item * (costs.variables + costs.outer)
        memory["remembered directions"] = SAGA_COPIES * remembered
    return Need({"oracles on minibatches": _oracles(chosen, costs), "steps": Work(0, 20 * vector, 30)}, memory)


SAGA_COPIES = 2.0
"""The memory before a hyperiteration and the one after it."""


def _oracles(chosen: spec.AnyStochastic, costs: Costs) -> Work:
    gradient, outer = costs.gradient, costs.objective
    hessian = Work(2.2 * gradient.operations, 2.4 * gradient.traffic, 2.0 * gradient.operators)
    products = Work(2.4 * gradient.operations, 2.6 * gradient.traffic, 2.3 * gradient.operators)
    match chosen:
        case spec.Soba() | spec.MaSoba():
            return products + outer
        case spec.Saba():
            rows = costs.item * (3 * costs.variables + 2 * costs.outer)
            copied = sum(costs.blocks) * rows  # the memory is a new tree at every hyperiteration
            return products + outer + Work(0, 2 * copied, 30)
        case spec.Srba():
            return RATIO_OF_FULL_PASSES * (products + outer)
        case spec.StocBio() | spec.Amigo():
            return chosen.inner_steps * gradient + chosen.linear_steps * hessian + products + outer
        case spec.Ttsa():
            return gradient + chosen.linear_steps / 2 * hessian + products + outer
        case spec.F2sa():
            return chosen.inner_steps * (2 * gradient + outer) + 2 * gradient + outer
        case spec.Bome() | spec.Pbgd():
            return (chosen.inner_steps + 3) * gradient + outer
        case _:
            assert_never(chosen)


def inner_steps(chosen: spec.AnyStochastic) -> int:
    """Steps of the inner variables a hyperiteration."""
    return getattr(chosen, "inner_steps", 1)
