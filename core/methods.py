"""From the spec of the hypergradient to the method."""

from functools import partial
from typing import Any, assert_never

from core.bilevel import linear_models
from core.bilevel.dynamics import Scalar
from core.bilevel.embedding import through_embedding
from core.bilevel.graphs import graphed
from core.bilevel.hypergradients import (
    exact,
    first_order,
    forward,
    random_forward,
    reptile,
    reverse,
    reversible,
    unrolled,
)
from core.bilevel.hypergradients.forward import Push, push
from core.bilevel.hypergradients.random_forward import gaussian, rademacher
from core.bilevel.linear_models.walk import Rate
from core.bilevel.problem import Method, MethodSeries, steady
from core.implicit import build_implicit
from core.problems.hyper_representation import heads
from core.problems.inner import Inner
from core.problems.instance import Context
from core.spec import Experiment, algorithms, problems
from core.spec.problem_checks import analytic
from core.spec.shortcuts import walks_in_dual

Same = (
    algorithms.Unrolled
    | algorithms.Reverse
    | algorithms.Reversible
    | algorithms.Forward
    | algorithms.Exact
    | algorithms.FirstOrder
    | algorithms.Reptile
)
"""Hypergradients whose method is the same at every hyperiteration."""


def build_method(spec: Experiment, inner: Inner, context: Context) -> MethodSeries:
    """The hypergradient; the problem's embedding, where it has one, is factored out."""
    algorithm = stepped(spec)
    match algorithm.hypergradient:
        case algorithms.RandomForward() as chosen:
            return _random_forward(chosen, context.seed, _push(spec, inner))
        case algorithms.Implicit() as chosen:
            return build_implicit(chosen, linear=analytic(spec.problem), steps=algorithm.steps)
        case _:
            method = same_method(spec, inner, context)
            return steady(graphed(method) if context.device.type == "cuda" and walks_in_dual(spec) else method)


def same_method(spec: Experiment, inner: Inner, context: Context) -> Method:
    """The method, where it is the same at every hyperiteration."""
    chosen = stepped(spec).hypergradient
    assert isinstance(chosen, Same)
    match chosen:
        case algorithms.Unrolled():
            return through_embedding(unrolled)
        case algorithms.Reverse():
            if walks_in_dual(spec):
                assert isinstance(spec.problem, problems.HyperRepresentation)
                return through_embedding(heads(spec.problem, context).dual_walk(inner))
            knobs: dict[str, Any] = chosen.model_dump(exclude={"kind"})
            if (rate := analytic_rate(spec, inner)) is not None:
                return partial(linear_models.reverse, rate=rate, **knobs)
            return through_embedding(partial(reverse, **knobs))
        case algorithms.Reversible():
            return through_embedding(_reversible(chosen, stepped(spec).dynamics, inner))
        case algorithms.Forward():
            return partial(forward, chunk=chosen.chunk, push=_push(spec, inner))
        case algorithms.Exact():
            return through_embedding(exact)
        case algorithms.FirstOrder():
            return through_embedding(first_order)
        case algorithms.Reptile():
            return through_embedding(reptile)
        case _:
            assert_never(chosen)


def stepped(spec: Experiment) -> algorithms.Stepped:
    """The algorithm, where its hypergradient comes from steps of given dynamics."""
    assert isinstance(spec.algorithm, algorithms.Stepped), f"{spec.algorithm.kind} has no hypergradient of its own"
    return spec.algorithm


def analytic_rate(spec: Experiment, inner: Inner) -> Rate | None:
    """The rate where reverse and forward mode take written-out steps: a linear model under steady gradient descent."""
    return inner.steady_rate if analytic(spec.problem) else None


def _reversible(spec: algorithms.Reversible, dynamics: algorithms.Dynamics, inner: Inner) -> Method:
    """Knows the numbers of heavy ball, beside the dynamics that use them."""
    learned = inner.learned.get("momentum")
    momentum: Scalar = learned.at if learned else getattr(dynamics, "momentum", 0.0)
    return partial(reversible, rate=inner.rate, momentum=momentum, fraction_bits=spec.fraction_bits)


def _push(spec: Experiment, inner: Inner) -> Push:
    """How tangents go through the steps."""
    rate = analytic_rate(spec, inner)
    return push if rate is None else partial(linear_models.push, rate=rate)


def _random_forward(spec: algorithms.RandomForward, seed: int, push: Push) -> MethodSeries:
    """Fresh directions at every hyperiteration, nothing to carry."""
    law = gaussian if spec.law == "gaussian" else rademacher
    method = partial(random_forward, seed=seed, directions=spec.directions, law=law, chunk=spec.chunk, push=push)
    return MethodSeries(lambda problem, dynamics, lam: (), lambda k, carry: partial(method, k=k))
