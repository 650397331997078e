"""What the measurements beside the hypergradient take, on average a hyperiteration."""

from collections.abc import Callable
from typing import NamedTuple

from core.planning.costs import Costs
from core.planning.methods import need
from core.planning.networks import VALUE
from core.planning.steps import Step, overall, step_of
from core.planning.work import NOTHING, Work
from core.spec import Experiment
from core.spec.algorithms import Exact, Nested, Stepped


class Extra(NamedTuple):
    """Work on average; memory at the peak in bytes, of the network's passes and what the method keeps, too."""

    work: Work
    memory: float


def measurements(spec: Experiment, algorithm: Stepped, costs: Costs, whole: Costs) -> Extra:
    """All that the spec asks for by `every`; `whole` are the costs where all tasks are taken together.

    Hypergradients and the network's passes take the tasks in chunks, everything else the whole meta-batch.
    """
    asked, step = spec.diagnostics, step_of(algorithm.dynamics, whole)
    look = VALUE * whole.embedding
    features = costs.looking + whole.item * whole.seen if costs.features else 0.0
    parts: list[tuple[int | None, Callable[[], Extra]]] = [
        (asked.stationarity.every, lambda: Extra(look + whole.gradient, features + step.graph)),
        (asked.truncation.every, lambda: _truncation(spec, algorithm, costs)),
        (asked.comparison.every, lambda: _comparison(spec, algorithm, costs, whole, features)),
        (asked.contraction.every, lambda: _contraction(spec, look, features, step)),
    ]
    found = [(every, part()) for every, part in parts if every is not None]
    work = sum((1 / every * part.work for every, part in found), NOTHING)
    return Extra(work, max((part.memory for _, part in found), default=0.0))


def _again(spec: Experiment, algorithm: Stepped, costs: Costs) -> Extra:
    """Another hypergradient, with what every method looks at beside it."""
    other = need(spec, algorithm, costs)
    work = sum(other.work.values(), costs.embedding + costs.objective + 1.3 * costs.gradient)
    return Extra(costs.repeats * work, costs.features + overall(other.memory))


def _truncation(spec: Experiment, algorithm: Stepped, costs: Costs) -> Extra:
    double = spec.diagnostics.truncation.steps == "double"
    steps = 2 * algorithm.steps if double else algorithm.steps // 2
    return _again(spec, algorithm.model_copy(update={"steps": steps}), costs)


def _comparison(spec: Experiment, algorithm: Stepped, costs: Costs, whole: Costs, features: float) -> Extra:
    """Another method, or central differences: values of f alone, with no way back."""
    asked = spec.diagnostics.comparison
    if asked.against is not None:
        return _again(spec, algorithm.model_copy(update={"hypergradient": asked.against}), costs)
    step = step_of(algorithm.dynamics, whole)
    solved = isinstance(algorithm.hypergradient, Exact)
    inner = VALUE * whole.solution if solved else algorithm.steps * step.once
    work = 2 * asked.directions * (inner + VALUE * (whole.embedding + whole.objective))
    points = 3 * whole.item * whole.outer  # the direction, and lam on its two sides
    held = whole.solution_memory if solved else max(step.graph, whole.judging)
    return Extra(work, features + points + held)


def _contraction(spec: Experiment, look: Work, features: float, step: Step) -> Extra:
    """Pulls through the graph of one step, which is made once."""
    products = spec.diagnostics.contraction.products
    return Extra(look + step.once + products * step.pulled, features + products * step.state + step.graph)


def measurements_of_steps(spec: Experiment, whole: Costs) -> Extra:
    """The same beside an algorithm that draws minibatches; `whole` are the costs of a gradient on all examples.

    Each begins with gradient and objective on all examples; another hypergradient starts at the present inner
    variables and makes no inner steps.
    """
    asked, work, memory = spec.diagnostics, NOTHING, 0.0
    look = whole.gradient + VALUE * whole.objective
    if (every := asked.stationarity.every) is not None:
        work += 1 / every * (look + whole.gradient)
        memory = whole.watching
    if (every := asked.comparison.every) is not None and asked.comparison.against is not None:
        other = need(spec, Nested(steps=1, hypergradient=asked.comparison.against), whole)
        work += 1 / every * (look + sum(other.work.values(), NOTHING) + whole.objective)
        memory = whole.watching + overall(other.memory)
    return Extra(work, memory)
