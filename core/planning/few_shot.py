"""What few-shot problems cost: the network on the images of a hyperiteration, the heads, and evaluations."""

from typing import assert_never

from core.planning.costs import Costs, item_size
from core.planning.episodes import (
    Scored,
    changed,
    heads_gradient,
    held,
    kept,
    network,
    passed,
    passing_size,
    scored,
    stored,
    walk_step,
)
from core.planning.networks import values_of_an_image
from core.planning.work import NOTHING, Work, product
from core.spec import Experiment
from core.spec.algorithms import GradientDescent
from core.spec.heads import PrototypeHeads, RidgeHeads, SoftmaxHeads
from core.spec.multiclass_transfer import MulticlassTransfer
from core.spec.problem_checks import closed_form
from core.spec.problems import HyperRepresentation
from core.spec.sizes import features, inner_problems, inner_variables, outer_variables, training_sets
from core.spec.stochastic import Stochastic

DRAWN = 150
"""Operators that draw and judge the episodes of an evaluation that are taken together, as measured."""


def few_shot(spec: Experiment, problem: HyperRepresentation) -> Costs:
    """A meta-batch a hyperiteration."""
    item, passing = item_size(spec), passing_size(spec)
    tasks = min(problem.task_chunk or problem.meta_batch, problem.meta_batch)
    way, shot, query = training_sets(problem)
    support, outer = way * shot, way * (query or shot)
    images = tasks * way * (shot + query)
    made, pixels = features(problem), values_of_an_image(problem.dataset)
    images_stored, loading = stored(problem)
    judged = scored(spec, problem, problem.task_chunk)
    fits = tasks * inner_problems(problem)
    z = fits * way * (shot + query) * made
    return Costs(
        item=item,
        variables=inner_variables(problem),
        leaves=1,
        seen=z,
        outer=outer_variables(problem, spec.algorithm),
        gradient=heads_gradient(fits, support, made, way, item),
        graph=item * fits * (3 * support * way + (made + 1) * way),
        objective=heads_gradient(fits, outer, made, way, item),
        data=images_stored,
        loading=loading,
        embedding=network(problem, images, passing) + changed(problem, images, item) + Work(0, 0, 20),
        features=images * (passing * kept(problem) + 2 * item * pixels) + (2 + problem.centred) * item * z,
        looking=images * (passing * held(problem, passing) + 2 * item * pixels),
        solution=_solution(problem, fits, support, made, item),
        solution_memory=item * 3.0 * fits * support * (made + support) * closed_form(problem),
        scoring=passed(problem, judged, passing) + Work(0, 0, DRAWN * -(-judged.tasks // judged.at_once)),
        scoring_memory=passing * judged.together * held(problem, passing),
        statistics_memory=passing * judged.drawn * held(problem, passing),
        fitting=_fitting(spec, problem, judged, item),
        walks=judged.tasks / fits * (problem.way * problem.shot) / (way * shot),
        repeats=-(-problem.meta_batch // tasks),
    )


def _fitting(spec: Experiment, problem: HyperRepresentation, judged: Scored, item: int) -> Work | None:
    """Of softmax heads in the span of their support features: forward only, launched one by one."""
    assert not isinstance(spec.algorithm, Stochastic)  # core.spec.checks refuses it
    dynamics = spec.algorithm.dynamics
    steady = isinstance(dynamics, GradientDescent) and not dynamics.rate_per_step
    if not steady or not isinstance(problem.heads, SoftmaxHeads) or problem.way_from is not None:
        return None
    times = float(-(-judged.tasks // judged.at_once))
    return times * walk_step(judged.at_once, problem.way * problem.shot, problem.way, item)


def transfer(spec: Experiment, problem: MulticlassTransfer) -> Costs:
    """A minibatch of images a hyperiteration, no inner variables; evaluations fit softmax heads on the scores."""
    item, passing, images = item_size(spec), passing_size(spec), problem.batch
    classes, below = problem.dataset.class_counts()[0], features(problem)
    images_stored, loading = stored(problem)
    judged = scored(spec, problem, None)
    assert not isinstance(spec.algorithm, Stochastic)  # core.spec.checks refuses it
    last = product(images, below, classes, item)
    fits = judged.tasks / judged.at_once * spec.algorithm.steps
    heads = heads_gradient(judged.at_once, problem.way * problem.shot, classes, problem.way, item)
    scores = images * classes
    return Costs(
        item=item,
        variables=0,
        leaves=1,
        seen=scores,
        outer=outer_variables(problem, spec.algorithm),
        gradient=Work(0, 0, 5),
        graph=0,
        objective=Work(0, 8 * item * scores, 20),
        data=images_stored,
        loading=loading,
        embedding=network(problem, images, passing) + changed(problem, images, item) + 3 * last + Work(0, 0, 20),
        features=images * (passing * kept(problem) + 2 * item * values_of_an_image(problem.dataset))
        + (passing + 4 * item) * scores,
        looking=images * (passing * held(problem, passing) + 2 * item * values_of_an_image(problem.dataset)),
        scoring=passed(problem, judged, passing) + product(judged.images, below, classes, item) + fits * heads,
        scoring_memory=judged.together * (passing * held(problem, passing) + 2 * item * classes),
        statistics_memory=judged.drawn * (passing * held(problem, passing) + 2 * item * classes),
    )


def _solution(problem: HyperRepresentation, tasks: int, support: int, features: int, item: int) -> Work:
    """The closed form of the heads with its derivative; nothing where there is none."""
    match problem.heads:
        case SoftmaxHeads():
            return NOTHING
        case RidgeHeads():
            products = 2 * support**2 * (features + 1) + support**3 / 3 + 2 * support * (features + 1) * problem.way
            traffic = item * tasks * (3 * support * (features + 1) + 4 * support**2)
            return Work(4 * tasks * products, traffic, 30)
        case PrototypeHeads():
            traffic = item * tasks * (support + problem.way) * (features + 1)
            return Work(4 * 2 * tasks * support * features * problem.way, traffic, 15)
        case _:
            assert_never(problem.heads)
