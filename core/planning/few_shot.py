"""What few-shot problems cost: the network on the images of a hyperiteration, the heads, and evaluations."""

from typing import NamedTuple, assert_never

from core.planning.costs import Costs, item_size
from core.planning.networks import (
    VALUE,
    conv4_gradient,
    conv4_holds,
    conv4_keeps,
    network_gradient,
    values_of_an_image,
)
from core.planning.residual import residual_gradient, residual_holds, residual_keeps
from core.planning.work import NOTHING, Work, product
from core.spec import Experiment
from core.spec.datasets import MiniImagenet
from core.spec.heads import PrototypeHeads, RidgeHeads, SoftmaxHeads
from core.spec.models import Conv4, Mlp, Residual
from core.spec.multiclass_transfer import MulticlassTransfer
from core.spec.problem_checks import closed_form
from core.spec.problems import FewShot, HyperRepresentation
from core.spec.sizes import features, images_at_once, inner_variables, outer_variables, population, training_sets
from core.spec.stochastic import Stochastic

LOADED = 2.06
"""Images in memory after they are split and rotated, with what that leaves around them, over the images themselves."""
ENCODED = 0.1
"""What the files of miniImageNet take beside the decoded images while these are made: 2 kB an image, as measured."""


def few_shot(spec: Experiment, problem: HyperRepresentation) -> Costs:
    """A meta-batch a hyperiteration."""
    item = item_size(spec)
    tasks = min(problem.task_chunk or problem.meta_batch, problem.meta_batch)
    way, shot, query = training_sets(problem)
    support, outer = way * shot, way * (query or shot)
    images = tasks * way * (shot + query)
    made, pixels = features(problem), values_of_an_image(problem.dataset)
    stored, loading = _stored(problem)
    scored = _scored(spec, problem, problem.task_chunk)
    z = images * made
    return Costs(
        item=item,
        variables=inner_variables(problem),
        leaves=1,
        seen=z,
        outer=outer_variables(problem, spec.algorithm),
        gradient=_heads_gradient(tasks, support, made, way, item),
        graph=item * tasks * (3 * support * way + (made + 1) * way),
        objective=_heads_gradient(tasks, outer, made, way, item),
        data=stored,
        loading=loading,
        embedding=_representation(problem, images, item) + Work(0, 0, 20),
        features=images * (_passing_size(spec) * _kept_units(problem) + 2 * item * pixels) + 2 * item * z,
        solution=_solution(problem, tasks, support, made, item),
        solution_memory=item * 3.0 * tasks * support * (made + support) * closed_form(problem),
        scoring=VALUE * _representation(problem, scored.images, item),
        scoring_memory=item * scored.together * _passing_units(problem, item),
        walks=scored.tasks / tasks * (problem.way * problem.shot) / (way * shot),
        repeats=-(-problem.meta_batch // tasks),
    )


def transfer(spec: Experiment, problem: MulticlassTransfer) -> Costs:
    """A minibatch of images a hyperiteration, no inner variables; evaluations fit softmax heads on the scores."""
    item, passing, images = item_size(spec), _passing_size(spec), problem.batch
    classes, below = problem.dataset.class_counts()[0], features(problem)
    stored, loading = _stored(problem)
    scored = _scored(spec, problem, None)
    steps = 0 if isinstance(spec.algorithm, Stochastic) else spec.algorithm.steps
    last = product(images, below, classes, item)
    fits = scored.tasks / scored.at_once * steps
    heads = _heads_gradient(scored.at_once, problem.way * problem.shot, classes, problem.way, item)
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
        data=stored,
        loading=loading,
        embedding=_representation(problem, images, item) + 3 * last + Work(0, 0, 20),
        features=images * (passing * _kept_units(problem) + 2 * item * values_of_an_image(problem.dataset))
        + (passing + 4 * item) * scores,
        scoring=VALUE * _representation(problem, scored.images, item)
        + product(scored.images, below, classes, item)
        + fits * heads,
        scoring_memory=item * scored.together * (_passing_units(problem, item) + 2 * classes),
    )


class _Scored(NamedTuple):
    """What an evaluation sends through the network."""

    images: int
    """In all."""
    together: int
    """Images at a time."""
    at_once: int
    """Episodes at a time."""
    tasks: int
    """Heads that are fitted."""


def _scored(spec: Experiment, problem: FewShot, chunk: int | None) -> _Scored:
    episodes, modes = spec.evaluation.episodes, 1 if isinstance(problem.model, Mlp) else 2
    each = problem.way * (problem.shot + problem.query)
    at_once = min(chunk or max(1, images_at_once(problem.dataset) // each), episodes)
    drawn = population(problem.dataset) if modes == 2 else 0
    return _Scored(
        2 * modes * episodes * each + drawn,
        max(at_once * each, drawn),
        at_once,
        2 * modes * -(-episodes // at_once) * at_once,
    )


def _stored(problem: FewShot) -> tuple[float, float]:
    """Bytes of the images, one a pixel, and of what their loading takes at its peak."""
    dataset = problem.dataset
    stored = float(sum(dataset.class_counts()) * dataset.images_per_class * values_of_an_image(dataset))
    if isinstance(dataset, MiniImagenet):
        return stored, (1 + ENCODED) * stored
    return LOADED * stored, LOADED * stored


def _passing_size(spec: Experiment) -> int:
    """Bytes of a number in the network's passes."""
    return 2 if spec.resources.precision == "bf16" else item_size(spec)


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


def _heads_gradient(tasks: int, examples: int, features: int, way: int, item: int) -> Work:
    """Batched small products: each runs at the speed of memory rather than of the multipliers."""
    operations = 4 * tasks * examples * features * way
    traffic = item * tasks * (2 * examples * features + 4 * features * way + 8 * examples * way)
    return Work(4 * operations, traffic, 40)


def _representation(problem: FewShot, images: int, item: int) -> Work:
    """The network forward and backward."""
    model = problem.model
    match model:
        case Conv4():
            return conv4_gradient(model, problem.dataset, images, item)
        case Residual():
            return residual_gradient(model, problem.dataset, images, item)
        case Mlp():
            return network_gradient((values_of_an_image(problem.dataset), *model.hidden), images, item)
        case _:
            assert_never(model)


def _kept_units(problem: FewShot) -> float:
    """Numbers an image that the network takes, forward with its graph and backward."""
    model = problem.model
    match model:
        case Conv4():
            return conv4_keeps(model, problem.dataset)
        case Residual():
            return residual_keeps(model, problem.dataset)
        case Mlp():
            return 2 * sum(model.hidden)
        case _:
            assert_never(model)


def _passing_units(problem: FewShot, item: int) -> float:
    """Numbers an image that the network holds at a time without a graph."""
    model = problem.model
    match model:
        case Conv4():
            return conv4_holds(model, problem.dataset, item)
        case Residual():
            return residual_holds(model, problem.dataset, item)
        case Mlp():
            return values_of_an_image(problem.dataset) + 2 * max(model.hidden)
        case _:
            assert_never(model)
