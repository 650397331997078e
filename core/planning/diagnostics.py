"""What the measurements beside the hypergradient take, on average a hyperiteration."""

from typing import NamedTuple

from core.planning.costs import Costs
from core.planning.methods import need
from core.planning.networks import VALUE
from core.planning.steps import overall, step_of
from core.planning.work import NOTHING, Work
from core.spec import Experiment
from core.spec.algorithms import Nested, Stepped


class Extra(NamedTuple):
    """Work on average, memory at the peak in bytes."""

    work: Work
    memory: float


def measurements(spec: Experiment, algorithm: Stepped, costs: Costs) -> Extra:
    """All that the spec asks for by `every`."""
    asked, step = spec.diagnostics, step_of(algorithm.dynamics, costs)
    work, memory = NOTHING, 0.0
    method = need(spec, algorithm, costs)
    once = sum(method.work.values(), NOTHING) + costs.embedding + costs.objective
    if (every := asked.stationarity.every) is not None:
        work += 1 / every * costs.gradient
    if (every := asked.truncation.every) is not None:
        double = asked.truncation.steps == "double"
        work += (3.0 if double else 0.5) / every * once
        memory = max(memory, (2 if double else 1) * overall(method.memory))
    if (every := asked.comparison.every) is not None:
        if asked.comparison.against is None:
            work += 2 * asked.comparison.directions / every * (algorithm.steps * step.once + costs.embedding)
        else:
            other = need(spec, algorithm.model_copy(update={"hypergradient": asked.comparison.against}), costs)
            work += 1 / every * (sum(other.work.values(), NOTHING) + costs.embedding + costs.objective)
            memory = max(memory, overall(other.memory))
    if (every := asked.contraction.every) is not None:
        work += asked.contraction.products / every * step.pulled
        memory = max(memory, asked.contraction.products * step.state)
    return Extra(work, memory)


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
