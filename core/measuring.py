"""Which diagnostics a spec asks for, as measurements that join the method."""

from collections.abc import Callable

from core.bilevel import diagnostics as measurements
from core.bilevel.diagnostics import Measurement, Scheduled, measured
from core.bilevel.problem import MethodSeries
from core.spec import Experiment
from core.spec.algorithms import Exact
from core.spec.diagnostics import Comparison


def measuring(spec: Experiment, build_method: Callable[[Experiment], MethodSeries]) -> MethodSeries:
    """The method of the spec with its diagnostics; the same method where it asks for none."""
    methods = build_method(spec)
    asked = spec.diagnostics
    contraction = measurements.contraction(seed=spec.seed, products=asked.contraction.products)
    sections: tuple[tuple[int | None, Callable[[], Measurement]], ...] = (
        (asked.stationarity.every, lambda: measurements.stationarity),
        (asked.truncation.every, lambda: measurements.truncation(double=asked.truncation.steps == "double")),
        (asked.comparison.every, lambda: _comparison(spec, asked.comparison, build_method)),
        (asked.contraction.every, lambda: contraction),
    )
    scheduled: list[Scheduled] = [(every, make()) for every, make in sections if every is not None]
    if scheduled:
        methods = measured(methods, scheduled)
    if asked.direction.every is not None:
        methods = measurements.direction_change(methods, every=asked.direction.every)
    return methods


def _comparison(spec: Experiment, asked: Comparison, build_method: Callable[[Experiment], MethodSeries]) -> Measurement:
    if asked.against is not None:
        algorithm = spec.algorithm.model_copy(update={"hypergradient": asked.against})
        return measurements.comparison(build_method(spec.model_copy(update={"algorithm": algorithm})))
    solved = isinstance(getattr(spec.algorithm, "hypergradient", None), Exact)
    return measurements.central_differences(seed=spec.seed, directions=asked.directions, solved=solved)
