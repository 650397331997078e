"""What learned optimizers and learned training data cost."""

from dataclasses import replace
from typing import NamedTuple, assert_never

from core.planning.costs import Costs, NotModelled, item_size
from core.planning.networks import (
    BY_TAPE,
    GRADIENT_HOLDS,
    VALUE,
    WRITTEN_OUT,
    activations,
    fit_gradient,
    network_gradient,
)
from core.planning.tables import blocks, loading, metrics, minibatches
from core.planning.work import Work, product
from core.spec import Experiment
from core.spec.learned_problems import Classification, LearnedData, LearnedOptimizer, LstmOptimizer, MlpOptimizer
from core.spec.learned_problems import Quadratics as QuadraticTasks
from core.spec.learned_reports import DATA_RATES, LOOKED_AT, OPTIMIZER_RATES, TOGETHER
from core.spec.models import Linear, Mlp, TableModel
from core.spec.plugins import PluginModel
from core.spec.sizes import (
    coordinates,
    inner_variables,
    learned_examples,
    outer_variables,
    real_examples,
    test_examples,
    training_examples,
    validation_examples,
)

TUNED = 3
"""Optimizers that a report compares with the learned one."""
LSTM_OPERATORS, MLP_OPERATORS = 20, 6
"""Calls for each layer."""
GATES = 42
"""Numbers that an LSTM reads or writes for each unit beside its products: 20 to add these and the offset, 22 after."""
KEEPS = 8
"""Numbers that the graph keeps for each unit of an LSTM, as measured."""
AROUND = 1.45
"""What a state of many tensors takes over its numbers, as measured of velocities and moments, too."""


def layer_sizes(model: Linear | Mlp, features: int, classes: int) -> tuple[int, ...]:
    """Inputs, hidden units, scores."""
    return (features, classes) if isinstance(model, Linear) else (features, *model.hidden, classes)


def not_a_plugin(model: TableModel) -> Linear | Mlp:
    """The model.

    Raises:
        NotModelled: it comes from an installed package.
    """
    if isinstance(model, PluginModel):
        raise NotModelled(f"the model `{model.kind}` comes from an installed package, whose costs are not known")
    return model


def learned_data(spec: Experiment, problem: LearnedData) -> Costs:
    """A gradient on the learned examples, which the way back differentiates with respect to these, too."""
    item, dataset, model = item_size(spec), problem.dataset, not_a_plugin(problem.model)
    sizes = layer_sizes(model, dataset.features, dataset.classes)
    count, real, train = learned_examples(problem), real_examples(problem), training_examples(problem)
    judged = (validation_examples(problem), test_examples(problem))
    chosen, read = train + sum(judged), dataset.stored()
    n, checked = minibatches(spec, count, real)
    checked = min(problem.outer_batch or checked, checked)
    variables, lam = inner_variables(problem), outer_variables(problem, spec.algorithm)
    steps = getattr(spec.algorithm, "steps", 1)
    few, all_of_them = network_gradient(sizes, count, item), network_gradient(sizes, train, item)
    return Costs(
        item=item,
        variables=variables,
        leaves=2 * (len(sizes) - 1),
        seen=lam,
        outer=lam,
        gradient=fit_gradient(sizes, n, item) + Work(0, 3 * item * variables),
        overhead=WRITTEN_OUT,
        by_tape=BY_TAPE,
        # Beside what a gradient on given examples keeps: the examples, and the first layer's slopes, their factor.
        graph=item * (activations(sizes, n) + variables + n * (dataset.features + sizes[1])),
        objective=network_gradient(sizes, checked, item) + Work(0, 2 * item * checked * dataset.features, 26),
        watching=item * GRADIENT_HOLDS * activations(sizes, count),
        data=item * chosen * dataset.features,
        loading=loading(dataset.kind, read, dataset.features) + (item + 4) * chosen * dataset.features,
        scoring=VALUE * network_gradient(sizes, sum(judged), item) + metrics(problem, sum(judged)),
        scoring_memory=item * max(max(judged) * sum(sizes[1:]), GRADIENT_HOLDS * activations(sizes, train)),
        walks=float(spec.algorithm.kind == "nested"),
        closing=len(DATA_RATES) * (problem.draws * steps * few + problem.final_steps * all_of_them),
        blocks=blocks(spec, count, real),
    )


class Task(NamedTuple):
    """Stacked tasks in work and numbers."""

    gradient: Work
    value: Work
    whole: Work
    """The loss on all examples that are looked at."""
    keeps: float
    """Numbers in the graph of a value."""


def _tasks(problem: LearnedOptimizer, tasks: int, item: int) -> Task:
    chosen = problem.tasks
    match chosen:
        case QuadraticTasks():
            d = chosen.dimension
            value = Work(tasks * 2 * d * d, item * tasks * d * d, 8)
            return Task(replace(2 * value, operators=6), value, value, 4 * tasks * d)
        case Classification():
            n = chosen.batch or chosen.dataset.examples // 2  # all of those of meta-training
            looked_at = min(LOOKED_AT, chosen.dataset.examples // 4)
            sizes = layer_sizes(chosen.model, chosen.dataset.features, chosen.dataset.classes)
            # The minibatches of all tasks are gathered; each task has a product of its own.
            once = tasks * network_gradient(sizes, n, item)
            gradient = Work(once.operations, once.traffic + 2 * item * tasks * n * sizes[0], 8 * len(sizes) + 4)
            whole = VALUE * tasks * network_gradient(sizes, looked_at, item)
            return Task(
                gradient,
                replace(VALUE * gradient, operators=12 * len(sizes)),
                Work(whole.operations, whole.traffic, 12 * len(sizes)),
                tasks * (activations(sizes, n) + n * sizes[0]),
            )
        case _:
            assert_never(chosen)


class Network(NamedTuple):
    """The network for so many coordinates."""

    forward: Work
    memory: int
    """Numbers that it remembers of a coordinate."""
    keeps: float
    """Numbers in its graph."""
    leaves: int
    """Tensors that hold the memory."""


def _network(problem: LearnedOptimizer, entries: int, item: int) -> Network:
    chosen = problem.optimizer
    match chosen:
        case LstmOptimizer():
            h, inputs = chosen.hidden, (2, *[chosen.hidden] * (chosen.layers - 1))  # two inputs cost next to nothing
            products = [product(entries, rows, 4 * h, item) for rows in (*inputs[1:], *[h] * chosen.layers)]
            passes = Work(0, item * entries * chosen.layers * GATES * h, LSTM_OPERATORS * chosen.layers + 12)
            kept = entries * (KEEPS * h * chosen.layers + 8)
            return Network(sum(products, passes), 2 * h * chosen.layers, kept, 2 * chosen.layers)
        case MlpOptimizer():
            seen = 1 + len(chosen.decays)
            sizes = (2 * seen, *chosen.hidden, 1)
            forward = VALUE * network_gradient(sizes, entries, item)
            operators = MLP_OPERATORS * len(sizes) + 15
            kept = entries * (2 * sum(sizes) + 6 * seen)
            return Network(Work(forward.operations, forward.traffic, operators), seen - 1, kept, 1)
        case _:
            assert_never(chosen)


def learned_optimizer(spec: Experiment, problem: LearnedOptimizer) -> Costs:
    """A step is a gradient of the tasks, a pass of the network over all coordinates, and a loss."""
    item, n, steps = item_size(spec), coordinates(problem), getattr(spec.algorithm, "steps", 1)
    lam, episodes = outer_variables(problem, spec.algorithm), spec.evaluation.episodes
    own, network = _tasks(problem, problem.meta_batch, item), _network(problem, problem.meta_batch * n, item)
    variables = round(AROUND * problem.meta_batch * (n * (1 + network.memory) + 1))
    together = min(max(1, TOGETHER // n), episodes)
    chunks = -(-episodes // together)
    judged, stepping = _tasks(problem, together, item), _network(problem, together * n, item)
    trained = steps * problem.unrolls
    longer = problem.horizon or 2 * trained
    judging = 2 * chunks * (trained * (judged.gradient + judged.value + stepping.forward) + judged.whole)
    plain = judged.gradient + Work(0, 6 * item * together * n, 15)
    tests = trained + longer
    data = 0.0 if isinstance(problem.tasks, QuadraticTasks) else _table_bytes(problem.tasks, item)
    return Costs(
        item=item,
        variables=variables,
        leaves=2 + network.leaves,
        seen=lam,
        outer=lam,
        gradient=own.gradient + own.value + network.forward,
        graph=item * (network.keeps + own.keeps * (3 if problem.second_order else 1)),
        objective=Work(0, 0, 8),
        data=data + item * problem.meta_batch * n * n * isinstance(problem.tasks, QuadraticTasks),
        loading=0.0 if isinstance(problem.tasks, QuadraticTasks) else _loading(problem.tasks, item),
        scoring=judging + Work(0, 0, 40 * chunks),
        scoring_memory=item * together * n * 2.0 * (1 + stepping.memory) + item * judged.keeps,
        walks=0.0,
        closing=chunks * (max(longer, trained) * TUNED * len(OPTIMIZER_RATES) + 3 * tests) * plain
        + chunks * tests * (judged.gradient + judged.value + stepping.forward),
    )


def _table_bytes(tasks: Classification, item: int) -> float:
    dataset = tasks.dataset
    return float(item * dataset.stored() * dataset.features)


def _loading(tasks: Classification, item: int) -> float:
    dataset = tasks.dataset
    read = dataset.stored()
    return loading(dataset.kind, read, dataset.features) + (item + 4) * read * dataset.features
