"""What the measurements beside the hypergradient take, on average a hyperiteration."""

from collections.abc import Callable
from typing import NamedTuple

from core.planning.costs import Costs
from core.planning.methods import need
from core.planning.networks import VALUE
from core.planning.steps import overall, step_of
from core.planning.work import NOTHING, Work
from core.spec import Experiment
from core.spec.algorithms import Exact, Nested, Stepped


class Extra(NamedTuple):
    """Work on average; memory at the peak in bytes, of the network's passes and what the method keeps, too."""

    work: Work
    memory: float


def measurements(spec: Experiment, algorithm: Stepped, costs: Costs, whole: Costs) -> Extra:
    """All that the spec asks for by `every`; `whole` are the costs where all tasks are taken together.

    Contraction looks at the steps of all tasks at once; everything else takes the tasks in chunks.
    """
    asked = spec.diagnostics
    parts: list[tuple[int | None, Callable[[], Extra]]] = [
        (asked.stationarity.every, lambda: _stationarity(algorithm, costs)),
        (asked.truncation.every, lambda: _truncation(spec, algorithm, costs)),
        (asked.comparison.every, lambda: _comparison(spec, algorithm, costs)),
        (asked.contraction.every, lambda: _contraction(spec, algorithm, costs, whole)),
    ]
    found = [(every, part()) for every, part in parts if every is not None]
    work = sum((1 / every * part.work for every, part in found), NOTHING)
    return Extra(work, max((part.memory for _, part in found), default=0.0))


def _look(costs: Costs, together: Costs) -> Extra:
    """A pass of the network over all tasks, in chunks, without a graph; the features of `together` are kept."""
    kept = costs.looking + costs.item * together.seen if costs.features else 0.0
    return Extra(costs.repeats * VALUE * costs.embedding, kept)


def _stationarity(algorithm: Stepped, costs: Costs) -> Extra:
    look = _look(costs, costs)
    graph = step_of(algorithm.dynamics, costs).graph
    return Extra(look.work + costs.repeats * costs.gradient, look.memory + graph)


def _again(spec: Experiment, algorithm: Stepped, costs: Costs) -> Extra:
    """Another hypergradient, with what every method looks at beside it."""
    other = need(spec, algorithm, costs)
    work = sum(other.work.values(), costs.embedding + costs.objective + 1.3 * costs.gradient)
    return Extra(costs.repeats * work, costs.features + overall(other.memory))


def _truncation(spec: Experiment, algorithm: Stepped, costs: Costs) -> Extra:
    double = spec.diagnostics.truncation.steps == "double"
    steps = 2 * algorithm.steps if double else algorithm.steps // 2
    return _again(spec, algorithm.model_copy(update={"steps": steps}), costs)


def _comparison(spec: Experiment, algorithm: Stepped, costs: Costs) -> Extra:
    """Another method, or central differences: values of f alone, with no way back."""
    asked = spec.diagnostics.comparison
    if asked.against is not None:
        return _again(spec, algorithm.model_copy(update={"hypergradient": asked.against}), costs)
    step, look = step_of(algorithm.dynamics, costs), _look(costs, costs)
    solved = isinstance(algorithm.hypergradient, Exact)
    inner = VALUE * costs.solution if solved else algorithm.steps * step.once
    value = look.work + costs.repeats * (inner + VALUE * costs.objective)
    points = 3 * costs.item * costs.outer  # the direction, and lam on its two sides
    held = costs.solution_memory if solved else max(step.graph, costs.judging)
    return Extra(2 * asked.directions * value, look.memory + points + held)


def _contraction(spec: Experiment, algorithm: Stepped, costs: Costs, whole: Costs) -> Extra:
    """Pulls through the graph of one step, which is made once."""
    products = spec.diagnostics.contraction.products
    step, look = step_of(algorithm.dynamics, whole), _look(costs, whole)
    work = look.work + step.once + products * step.pulled
    return Extra(work, look.memory + products * step.state + step.graph)


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
