"""What the parts of each kind of problem cost: the inner objective, the outer objective, the network, the data."""

from typing import assert_never

from core.planning.costs import Costs, NotModelled, item_size
from core.planning.few_shot import few_shot, transfer
from core.planning.initialization import initialization
from core.planning.learned import layer_sizes, learned_data, learned_optimizer, not_a_plugin
from core.planning.linear_representation import linear_representation
from core.planning.networks import (
    BY_TAPE,
    GRADIENT_HOLDS,
    LINEAR_STEP,
    VALUE,
    WRITTEN_OUT,
    activations,
    fit_gradient,
    network_gradient,
)
from core.planning.preconditioner import preconditioner
from core.planning.tables import blocks, loading, metrics, minibatches
from core.planning.work import NOTHING, Work, product
from core.spec import Experiment
from core.spec.algorithms import GradientDescent, Stepped
from core.spec.learned_problems import LearnedData, LearnedOptimizer
from core.spec.multiclass_transfer import MulticlassTransfer
from core.spec.plugins import PluginProblem
from core.spec.problem_checks import analytic, closed_form
from core.spec.problems import (
    HyperCleaning,
    HyperRepresentation,
    Initialization,
    LinearRepresentation,
    Quadratic,
    RandomQuadratics,
    Regularization,
)
from core.spec.sizes import (
    inner_variables,
    models,
    outer_variables,
    scores,
    test_examples,
    training_examples,
    validation_examples,
)
from core.spec.stochastic import Stochastic


def costs(spec: Experiment) -> Costs:
    """Of the problem of a spec.

    Raises:
        NotModelled: the problem or its model comes from an installed package, or has not been measured.
    """
    problem = spec.problem
    match problem:
        case Quadratic():
            return _quadratic(spec, problem)
        case RandomQuadratics():
            return _random_quadratics(spec, problem)
        case Regularization() | HyperCleaning():
            return _table(spec, problem)
        case HyperRepresentation():
            return few_shot(spec, problem)
        case MulticlassTransfer():
            return transfer(spec, problem)
        case Initialization():
            return initialization(spec, problem)
        case LinearRepresentation():
            return linear_representation(spec, problem)
        case LearnedOptimizer():
            return learned_optimizer(spec, problem)
        case LearnedData():
            return learned_data(spec, problem)
        case PluginProblem():
            raise NotModelled(
                f"the problem `{problem.kind}` comes from an installed package, whose costs are not known"
            )
        case _:
            assert_never(problem)


def _quadratic(spec: Experiment, problem: Quadratic) -> Costs:
    d, m, item = problem.inner_dimension, problem.outer_dimension, item_size(spec)
    pass_over = item * (d * d + d * m)
    double = 8  # it is drawn in float64
    return Costs(
        item=item,
        variables=d,
        leaves=1,
        seen=m,
        outer=m,
        gradient=Work(4 * d * d, 2 * pass_over, 19),
        graph=item * (4 * d + m),
        objective=Work(0, item * 4 * (d + m), 20),
        data=pass_over + item * 2 * d,
        loading=double * (4 * d * d + d * m + 3 * (d + m) * m),
        solution=Work(2 / 3 * d**3 + 6 * d * d, 6 * item * d * d, 5),
        solution_memory=item * 3 * d * d,
        scoring=Work(2 / 3 * d**3, 4 * item * d * d, 30),
        scoring_memory=item * 2 * d * d,
    )


def _random_quadratics(spec: Experiment, problem: RandomQuadratics) -> Costs:
    d, m, item = problem.inner_dimension, problem.outer_dimension, item_size(spec)
    counts = (problem.inner_examples, problem.outer_examples)
    if not isinstance(spec.algorithm, Stochastic):
        passes = [item * (d * d + 2 * d * m + m * m)] * 2  # over the mean of all examples
        graph = item * (6 * d + 6 * m)
    else:
        batches = [min(spec.algorithm.batch or each, each) for each in counts]
        passes = [item * 3 * (d + m) * batch for batch in batches]
        graph = passes[0] + item * 8 * batches[0]
    numbers = 3 * (d + m) * sum(counts)
    return Costs(
        item=item,
        variables=d,
        leaves=1,
        seen=m,
        outer=m,
        gradient=Work(2 * passes[0] / item, 2 * passes[0], 30),
        graph=graph,
        objective=Work(2 * passes[1] / item, 2 * passes[1], 80),
        data=item * numbers,
        loading=(8 + item) * numbers + 8 * 6 * max(d, m) ** 2,  # it is drawn in float64
        solution=Work(2 / 3 * d**3 + 6 * d * d, 6 * item * d * d, 5),
        solution_memory=item * 3 * d * d,
        scoring=Work(2 / 3 * d**3, 4 * item * d * d, 60),
        scoring_memory=item * 2 * d * d,
        walks=float(spec.algorithm.kind == "nested"),
        blocks=blocks(spec, *counts),
    )


def _steady(spec: Experiment) -> bool:
    """Whether the dynamics are gradient descent with the same rate and all examples at every step."""
    algorithm = spec.algorithm
    if not isinstance(algorithm, Stepped) or not isinstance(algorithm.dynamics, GradientDescent):
        return False
    return not algorithm.dynamics.rate_per_step and algorithm.dynamics.batch is None


def _table(spec: Experiment, problem: Regularization | HyperCleaning) -> Costs:
    item = item_size(spec)
    d, classes = problem.dataset.features, scores(problem)
    train, validation, test = training_examples(problem), validation_examples(problem), test_examples(problem)
    n, checked = minibatches(spec, train, validation)
    folds, pool = models(problem), train + validation
    scored = validation
    if folds > 1:  # each model sees all examples, with a share of 0 for some
        n = checked = scored = folds * pool
    sizes = layer_sizes(not_a_plugin(problem.model), d, classes)
    variables = inner_variables(problem)
    gradient = fit_gradient(sizes, n, item)
    if n < train:
        gradient += Work(0, 2 * item * n * d, 6)  # the rows of the minibatch are gathered
    weights = 1 if isinstance(problem, HyperCleaning) else 0
    lam = outer_variables(problem, spec.algorithm)
    solved = closed_form(problem)
    written_out = analytic(problem) and _steady(spec)
    read = problem.dataset.stored()
    chosen = train + validation + test
    return Costs(
        item=item,
        variables=variables,
        leaves=2 * (len(sizes) - 1),
        seen=lam,
        outer=lam,
        gradient=gradient + Work(0, item * (3 * weights * train + 3 * variables), 5 * weights),
        overhead=LINEAR_STEP if written_out else WRITTEN_OUT,
        by_tape=BY_TAPE,
        graph=item * (activations(sizes, n) + weights * 2 * train + variables) + (item * n * d if n < train else 0),
        objective=network_gradient(sizes, checked, item) + Work(0, 0, 20),
        watching=item * GRADIENT_HOLDS * activations(sizes, max(n, train)),
        data=item * chosen * d,
        loading=loading(problem.dataset.kind, read, d) + (item + 4) * chosen * d,
        solution=folds * product(d, d, d, item) + 3 * folds * product(d, d, classes, item) + Work(0, 0, 15)
        if solved
        else NOTHING,
        solution_memory=item * folds * (4 * d * d) if solved else 0.0,
        scoring=VALUE * network_gradient(sizes, scored + test, item) + metrics(problem, scored + test),
        scoring_memory=item * max(scored, test) * (sum(sizes[1:]) + 2 * classes),
        walks=(spec.algorithm.kind == "nested") + (1 / folds if folds > 1 else 0),  # one more model, for the test set
        closing_steps=_closing_steps(problem, train, validation) if isinstance(problem, HyperCleaning) else 0,
        analytic=written_out,
        classes=classes,
        preconditioner=preconditioner(train, d, classes, item) if analytic(problem) else None,
        blocks=blocks(spec, train, validation),
    )


def _closing_steps(problem: HyperCleaning, train: int, validation: int) -> int:
    """Of the three models at the end, in steps on the training examples."""
    both = problem.final_on == "train_and_validation"
    return round(3 * problem.final_steps * ((train + validation) / train if both else 1))
