"""From the spec of an algorithm that moves inner and outer variables together to its functions."""

from collections.abc import Callable
from typing import assert_never

from core.bilevel.algorithms import first_order, single_loop, two_loop, variance_reduced
from core.bilevel.finite_sum import FiniteSum, oracles
from core.bilevel.optimizers import power_law
from core.bilevel.problem import Algorithm, Tree
from core.spec import stochastic as spec


def build_stochastic(
    chosen: spec.AnyStochastic, problem: FiniteSum, project: Callable[[Tree], Tree], *, seed: int
) -> Algorithm:
    """The algorithm, bound to a problem; `project` keeps lam in its set after every outer step."""
    ask = oracles(problem, batch=chosen.batch, seed=seed)
    rates = single_loop.rates(
        chosen.inner_rate,
        chosen.outer_rate,
        inner_exponent=chosen.inner_exponent,
        outer_exponent=chosen.outer_exponent,
    )
    match chosen:
        case spec.Soba():
            return single_loop.single_loop(ask, single_loop.stochastic(ask), rates, project)
        case spec.MaSoba():
            average = single_loop.moving_average(ask, weight=chosen.averaging)
            return single_loop.single_loop(ask, average, rates, project)
        case spec.Saba():
            return single_loop.single_loop(ask, variance_reduced.saga(ask), rates, project)
        case spec.Srba():
            recursive = variance_reduced.recursive(ask, period=chosen.period)
            return single_loop.single_loop(ask, recursive, rates, project)
        case spec.StocBio():
            series = two_loop.neumann(terms=chosen.linear_steps)
            return two_loop.two_loop(ask, series, rates, project, steps=chosen.inner_steps)
        case spec.Amigo():
            warm = two_loop.warm_started(steps=chosen.linear_steps)
            return two_loop.two_loop(ask, warm, rates, project, steps=chosen.inner_steps)
        case spec.Ttsa():
            term = two_loop.randomized_neumann(terms=chosen.linear_steps, seed=seed)
            return two_loop.two_loop(ask, term, rates, project, steps=1, linear_rate=chosen.linear_rate)
        case spec.F2sa():
            growing = power_law(chosen.multiplier, -chosen.multiplier_exponent)
            return first_order.f2sa(ask, rates, growing, project, steps=chosen.inner_steps)
        case spec.Bome():
            barrier = first_order.barrier(eta=chosen.eta, by_gap=chosen.barrier == "gap")
            return first_order.penalized(
                ask, rates, barrier, project, steps=chosen.inner_steps, warm=False, damped=False
            )
        case spec.Pbgd():
            constant = first_order.constant(chosen.multiplier)
            return first_order.penalized(
                ask, rates, constant, project, steps=chosen.inner_steps, warm=True, damped=True
            )
        case _:
            assert_never(chosen)
