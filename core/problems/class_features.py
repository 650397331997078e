"""Characters of a few examples each as feature vectors: by their pixels, or by a representation learned elsewhere."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from core.bilevel.problem import Tree
from core.bilevel.randomness import stream
from core.datasets.class_images import load_class_images
from core.datasets.class_sets import ClassImages
from core.datasets.episodes import sample_episodes
from core.datasets.splits import Examples, Split
from core.models.model import Representation
from core.problems.artifacts import Learned
from core.problems.few_shot import representative
from core.problems.instance import Context
from core.spec.images import images_at_once
from core.spec.problems import LinearRepresentation

PIXELS = 28 * 28

FeaturesOf = Callable[[Tensor], Tensor]
"""Images [N, channels, side, side], pixels in [0, 1] -> features [N, d]."""


def load(
    problem: LinearRepresentation, context: Context, source: Learned | None, network: Representation | None
) -> Split:
    """Draws classes and examples by the seed, on the device: x [classes * examples, d] by class, y their class.

    The classes are of the meta-test set; where the features are learned, of that experiment's, so that it has seen none
    of them. All sets are shifted by the training set's mean and divided by one number, which makes the mean of ||x||^2
    over the training set 1.
    """
    seed = context.seed if source is None else source.seed
    images = load_class_images(problem.dataset, seed=seed, data_dir=context.data_dir).images
    if source is None or network is None:
        features = _pixels(problem.features.size, context)
    else:
        features = _learned(source, network, images, context)
    return _scaled(_sets(problem, images.test, features, context))


def _sets(problem: LinearRepresentation, images: Tensor, features: FeaturesOf, context: Context) -> Split:
    """One episode of that many ways, whose query set is cut into validation and test set."""
    drawn = sample_episodes(
        images,
        way=problem.classes,
        shot=problem.train,
        query=problem.validation + problem.test,
        count=1,
        generator=stream(context.seed, "characters"),
        dtype=context.dtype,
    )
    classes, size = torch.arange(problem.classes, device=context.device), images_at_once(problem.dataset)

    def examples(images: Tensor) -> Examples:  # [classes * examples, ...]
        x = torch.cat([features(some) for some in torch.split(images.to(context.device), size)])
        return Examples(x, classes.repeat_interleave(len(x) // len(classes)))

    query = drawn.query[0]
    held_out = query.view(problem.classes, -1, *query.shape[1:])
    validation, test = torch.split(held_out, [problem.validation, problem.test], dim=1)
    return Split(examples(drawn.support[0]), examples(validation.flatten(0, 1)), examples(test.flatten(0, 1)))


def _pixels(size: int, context: Context) -> FeaturesOf:
    """The grey values [N, 784], or their products with fixed vectors ~ N(0, 1/784)."""
    if size == PIXELS:
        return lambda images: images.flatten(1)
    drawn = torch.randn(PIXELS, size, dtype=torch.float64, generator=stream(context.seed, "projection"))
    projection = context.place(drawn / math.sqrt(PIXELS))
    return lambda images: images.flatten(1) @ projection


def _learned(source: Learned, network: Representation, images: ClassImages, context: Context) -> FeaturesOf:
    """With the statistics of meta-training images in the norms: the features of an image do not depend on others."""
    parameters: Tree = context.place(source.parameters(network.init(stream(0))))
    statistics = network.statistics(
        parameters, representative(images.train, source.problem.dataset, source.seed, context)
    )
    return lambda images: network.apply_with(parameters, images, statistics)


def _scaled(split: Split) -> Split:
    mean = split.train.x.mean(0)
    unit = (split.train.x - mean).square().sum(1).mean().sqrt()
    train, validation, test = (Examples((part.x - mean) / unit, part.y) for part in split)
    return Split(train, validation, test)
