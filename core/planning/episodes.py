"""What episodes cost: the network on their images, heads on its features, evaluations, the images in memory."""

from dataclasses import replace
from typing import NamedTuple, assert_never

from core.planning.costs import item_size
from core.planning.networks import (
    VALUE,
    conv4_gradient,
    conv4_holds,
    conv4_keeps,
    network_gradient,
    values_of_an_image,
)
from core.planning.residual import RESIDUAL_VALUE, residual_gradient, residual_holds, residual_keeps
from core.planning.work import Work
from core.spec import Experiment
from core.spec.datasets import MiniImagenet
from core.spec.images import images_at_once, population
from core.spec.models import Conv4, Mlp, Residual
from core.spec.problems import FewShot, HyperRepresentation

LOADED = 1.85
"""Images in memory after they are split and rotated, with what that leaves around them, over the images themselves."""
ENCODED = 0.1
"""What the files of miniImageNet take beside the decoded images while these are made: 2 kB an image, as measured."""


class Scored(NamedTuple):
    """What an evaluation sends through the network."""

    images: int
    """In all."""
    together: int
    """Images at a time."""
    drawn: int
    """Images whose statistics stand for those of all, at once."""
    at_once: int
    """Episodes at a time."""
    tasks: int
    """Heads that are fitted."""


def scored(spec: Experiment, problem: FewShot, chunk: int | None) -> Scored:
    """Of both meta-sets in both modes of the norms, `chunk` episodes at a time, or as many as an evaluation takes.

    With the running statistics no image goes through the network twice.
    """
    episodes, modes = spec.evaluation.episodes, 1 if isinstance(problem.model, Mlp) else 2
    each, at_once = sum(evaluated(problem)), episodes_at_once(spec, problem, chunk)
    drawn = population(problem.dataset) if modes == 2 else 0
    passes = 2 if isinstance(problem, HyperRepresentation) and problem.average_reflections else 1
    known = [classes * problem.dataset.images_per_class for classes in problem.dataset.class_counts()[1:]]
    once = sum(min(images, episodes * each) for images in known) if modes == 2 else 0
    return Scored(
        passes * (2 * episodes * each + once) + drawn,
        at_once * each,
        drawn,
        at_once,
        2 * modes * -(-episodes // at_once) * at_once,
    )


def passed(problem: FewShot, judged: Scored, item: int) -> Work:
    """The network forward, some images at a time."""
    share = RESIDUAL_VALUE if isinstance(problem.model, Residual) else VALUE
    work = share * network(problem, judged.images, item)
    return replace(work, operators=work.operators * -(-judged.images // max(judged.together, judged.drawn)))


def evaluated(problem: FewShot) -> tuple[int, int]:
    """Images of a support set and of a query set."""
    return problem.way * problem.shot, problem.way * problem.query


def episodes_at_once(spec: Experiment, problem: FewShot, chunk: int | None) -> int:
    """Of an evaluation: as many as `images_at_once` allows, but for `chunk`."""
    allowed = max(1, images_at_once(problem.dataset) // sum(evaluated(problem)))
    return min(allowed, chunk or allowed, spec.evaluation.episodes)


def changed(problem: FewShot, images: int, item: int) -> Work:
    """Images that are mirrored, cropped and recoloured as they are drawn, as measured on a CPU."""
    dataset = problem.dataset
    if not isinstance(dataset, MiniImagenet):
        return Work()
    passes = 2 * dataset.reflections + 6 * (dataset.smallest_crop < 1) + 9 * (dataset.colours > 0)
    return Work(0, passes * item * images * values_of_an_image(dataset), 0)


def stored(problem: FewShot) -> tuple[float, float]:
    """Bytes of the images, one a pixel, and of what their loading takes at its peak."""
    dataset = problem.dataset
    size = float(sum(dataset.class_counts()) * dataset.images_per_class * values_of_an_image(dataset))
    if isinstance(dataset, MiniImagenet):
        return size, (1 + ENCODED) * size
    return LOADED * size, LOADED * size


def passing_size(spec: Experiment) -> int:
    """Bytes of a number in the network's passes."""
    return 2 if spec.resources.precision == "bf16" else item_size(spec)


def heads_gradient(tasks: int, examples: int, features: int, way: int, item: int) -> Work:
    """Batched small products: each runs at the speed of memory rather than of the multipliers."""
    operations = 4 * tasks * examples * features * way
    traffic = item * tasks * (2 * examples * features + 4 * features * way + 8 * examples * way)
    return Work(4 * operations, traffic, 40)


def walk_step(tasks: int, examples: int, way: int, item: int) -> Work:
    """A step of softmax heads in the span of their support features, and its way back.

    Small products of the support examples with each other, outside of gradients: operators at half the price.
    """
    n = examples
    return Work(4 * 6 * tasks * n * n * way, item * tasks * (3 * n * n + 30 * n * way), 9)


def network(problem: FewShot, images: int, item: int) -> Work:
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


def kept(problem: FewShot) -> float:
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


def held(problem: FewShot, item: int) -> float:
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
