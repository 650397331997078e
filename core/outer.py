"""From the spec of the outer optimizer to its functions."""

from typing import assert_never

from core.bilevel import optimizers
from core.bilevel.optimizers import OuterOptimizer
from core.spec import algorithms


def build_optimizer(spec: algorithms.Optimizer, hyperiterations: int) -> OuterOptimizer:
    """The outer optimizer, on shortened hypergradients where the spec says so."""
    rate = optimizers.inverse_time(spec.rate, spec.decay)
    if spec.cosine:
        rate = optimizers.cosine(rate, hyperiterations)
    plain = _plain_optimizer(spec, rate)
    return plain if spec.clip is None else optimizers.clipped(plain, largest=spec.clip)


def _plain_optimizer(spec: algorithms.Optimizer, rate: optimizers.Rates) -> OuterOptimizer:
    match spec:
        case algorithms.Sgd():
            return optimizers.sgd(rate=rate)
        case algorithms.MomentumSgd():
            return optimizers.momentum(rate=rate, momentum=spec.momentum)
        case algorithms.Adam():
            return optimizers.adam(rate=rate, beta1=spec.beta1, beta2=spec.beta2, epsilon=spec.epsilon)
        case _:
            assert_never(spec)
