"""What few-shot problems cost: the network on the images of a hyperiteration, the heads, and evaluations."""

from typing import NamedTuple, assert_never

from core.planning.costs import Costs, item_size
from core.planning.networks import SIDE, VALUE, conv4_gradient, conv4_holds, conv4_keeps, network_gradient
from core.planning.work import NOTHING, Work, product
from core.spec import Experiment
from core.spec.heads import PrototypeHeads, RidgeHeads, SoftmaxHeads
from core.spec.models import Conv4, Mlp
from core.spec.multiclass_transfer import MulticlassTransfer
from core.spec.problem_checks import closed_form
from core.spec.problems import FewShot, HyperRepresentation
from core.spec.sizes import feature_size, inner_variables, outer_variables, training_sets
from core.spec.stochastic import Stochastic

IMAGES_AT_ONCE = 1280
"""Images that an evaluation of a few-shot problem sends through the network together."""
POPULATION = 2000
"""Images whose statistics stand for those of all."""
LOADED = 2.06
"""Images in memory after they are split and rotated, with what that leaves around them, over the images themselves."""


def few_shot(spec: Experiment, problem: HyperRepresentation) -> Costs:
    """A meta-batch a hyperiteration."""
    item, way = item_size(spec), problem.way
    tasks = min(problem.task_chunk or problem.meta_batch, problem.meta_batch)
    shot, query = training_sets(problem)
    support, outer = way * shot, way * (query or shot)
    images = tasks * way * (shot + query)
    features = feature_size(problem.model)
    scored = _scored(spec, problem, problem.task_chunk)
    z = images * features
    return Costs(
        item=item,
        variables=inner_variables(problem),
        leaves=1,
        seen=z,
        outer=outer_variables(problem, spec.algorithm),
        gradient=_heads_gradient(tasks, support, features, way, item),
        graph=item * tasks * (3 * support * way + (features + 1) * way),
        objective=_heads_gradient(tasks, outer, features, way, item),
        data=_stored(problem),
        loading=_stored(problem),
        embedding=_representation(problem, images, item) + Work(0, 0, 20),
        features=images * (_passing_size(spec) * _kept_units(problem) + 2 * item * SIDE**2) + 2 * item * z,
        solution=_solution(problem, tasks, support, features, item),
        solution_memory=item * 3.0 * tasks * support * (features + support) * closed_form(problem),
        scoring=VALUE * _representation(problem, scored.images, item),
        scoring_memory=item * scored.together * _passing_units(problem, item),
        walks=scored.tasks / tasks * problem.shot / shot,
        repeats=-(-problem.meta_batch // tasks),
    )


def transfer(spec: Experiment, problem: MulticlassTransfer) -> Costs:
    """A minibatch of images a hyperiteration, no inner variables; evaluations fit softmax heads on the scores."""
    item, passing, images = item_size(spec), _passing_size(spec), problem.batch
    classes, below = problem.dataset.class_counts()[0], feature_size(problem.model)
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
        data=_stored(problem),
        loading=_stored(problem),
        embedding=_representation(problem, images, item) + 3 * last + Work(0, 0, 20),
        features=images * (passing * _kept_units(problem) + 2 * item * SIDE**2) + (passing + 4 * item) * scores,
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
    episodes, modes = spec.evaluation.episodes, 2 if isinstance(problem.model, Conv4) else 1
    each = problem.way * (problem.shot + problem.query)
    at_once = min(chunk or max(1, IMAGES_AT_ONCE // each), episodes)
    population = POPULATION if modes == 2 else 0
    return _Scored(
        2 * modes * episodes * each + population,
        max(at_once * each, population),
        at_once,
        2 * modes * -(-episodes // at_once) * at_once,
    )


def _stored(problem: FewShot) -> float:
    """Bytes of the images, which are u8."""
    return LOADED * sum(problem.dataset.class_counts()) * problem.dataset.images_per_class * SIDE**2


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
            return conv4_gradient(model, images, item)
        case Mlp():
            return network_gradient((SIDE**2, *model.hidden), images, item)
        case _:
            assert_never(model)


def _kept_units(problem: FewShot) -> float:
    """Numbers an image that the network takes, forward with its graph and backward."""
    model = problem.model
    match model:
        case Conv4():
            return conv4_keeps(model)
        case Mlp():
            return 2 * sum(model.hidden)
        case _:
            assert_never(model)


def _passing_units(problem: FewShot, item: int) -> float:
    """Numbers an image that the network holds at a time without a graph."""
    model = problem.model
    match model:
        case Conv4():
            return conv4_holds(model, item)
        case Mlp():
            return SIDE**2 + 2 * max(model.hidden)
        case _:
            assert_never(model)
