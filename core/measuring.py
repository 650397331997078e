"""Which diagnostics a spec asks for, as measurements that join the method, or an algorithm that has none of its own."""

from collections.abc import Callable, Mapping

from torch import Tensor

from core.bilevel import diagnostics as measurements
from core.bilevel.algorithms.measured import ProblemAt, direction_of_steps, measured_steps
from core.bilevel.diagnostics import Hyperiteration, Measurement, Scheduled, measured
from core.bilevel.optimizers import power_law
from core.bilevel.problem import Algorithm, Dynamics, MethodSeries, State
from core.spec import Experiment
from core.spec.algorithms import Exact, Nested
from core.spec.diagnostics import Comparison
from core.spec.stochastic import AnyStochastic, Stochastic

Build = Callable[[Experiment], MethodSeries]
"""From a spec to its method."""


def measuring(spec: Experiment, build_method: Build) -> MethodSeries:
    """The method of the spec with its diagnostics; the same method where it asks for none."""
    methods, every = build_method(spec), spec.diagnostics.direction.every
    if scheduled := _scheduled(spec, build_method):
        methods = measured(methods, scheduled)
    return methods if every is None else measurements.direction_change(methods, every=every)


def measuring_steps(
    spec: Experiment, chosen: AnyStochastic, algorithm: Algorithm, at: ProblemAt, build_method: Build
) -> Algorithm:
    """The algorithm of the spec with its diagnostics; the same algorithm where it asks for none."""
    rate, every = power_law(chosen.outer_rate, chosen.outer_exponent), spec.diagnostics.direction.every
    if scheduled := _scheduled(spec, build_method):
        algorithm = measured_steps(algorithm, at, rate, scheduled)
    return algorithm if every is None else direction_of_steps(algorithm, rate, every=every)


def _scheduled(spec: Experiment, build_method: Build) -> list[Scheduled]:
    asked = spec.diagnostics
    contraction = measurements.contraction(seed=spec.seed, products=asked.contraction.products)
    sections: tuple[tuple[int | None, Callable[[], Measurement]], ...] = (
        (asked.stationarity.every, lambda: _stationarity),
        (asked.truncation.every, lambda: measurements.truncation(double=asked.truncation.steps == "double")),
        (asked.comparison.every, lambda: _comparison(spec, asked.comparison, build_method)),
        (asked.contraction.every, lambda: contraction),
    )
    return [(every, make()) for every, make in sections if every is not None]


def _stationarity(here: Hyperiteration) -> Mapping[str, Tensor]:
    """Against w_0, wherever the hyperiteration itself started from: in real time it goes on from the last one."""
    anew = Dynamics(lambda lam: State(here.problem.init(lam)), here.dynamics.step)
    return measurements.stationarity(here._replace(dynamics=anew))


def _comparison(spec: Experiment, asked: Comparison, build_method: Build) -> Measurement:
    if asked.against is not None:
        own = Nested() if isinstance(spec.algorithm, Stochastic) else spec.algorithm
        algorithm = own.model_copy(update={"hypergradient": asked.against})
        return measurements.comparison(build_method(spec.model_copy(update={"algorithm": algorithm})))
    solved = isinstance(getattr(spec.algorithm, "hypergradient", None), Exact)
    return measurements.central_differences(seed=spec.seed, directions=asked.directions, solved=solved)
