"""Episodes of a few-shot problem, drawn from the meta-sets of its data set."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from core.bilevel.randomness import stream
from core.datasets.augmentation import Augmentation
from core.datasets.class_images import Loaded, load_class_images
from core.datasets.class_sets import ClassImages
from core.datasets.episodes import Episodes, joined, sample_episodes
from core.problems.instance import Context
from core.spec import problems as spec
from core.spec.datasets import EpisodeDataset, MiniImagenet
from core.spec.images import AT_A_TIME_ON_A_GPU, images_at_once
from core.spec.sizes import Sets, evaluation_sets

MetaSet = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Sampling:
    """Episodes that are functions of the seed and an index."""

    problem: spec.FewShot
    context: Context
    loaded: Loaded

    def images(self, part: MetaSet) -> Tensor:
        """Of a meta-set, u8 [classes, images a class, ...]."""
        found: Tensor = getattr(self.loaded.images, part)
        return found

    def episodes(
        self, part: MetaSet, sets: Sets, count: int, *index: str | int, features: Tensor | None = None
    ) -> Episodes:
        """`count` tasks with so many classes, and support and query examples of each, or the features of these."""
        problem, groups = self.problem, self.loaded.groups
        return sample_episodes(
            self.images(part) if features is None else features,
            way=sets.way,
            shot=sets.shot,
            query=sets.query,
            count=count,
            generator=stream(self.context.seed, *index),
            dtype=self.context.dtype,
            groups=None if groups is None else getattr(groups, part),
            augmentation=augmentation(problem.dataset) if part == "train" else None,
            way_from=problem.way_from if isinstance(problem, spec.HyperRepresentation) else None,
        )

    def evaluation(
        self, part: MetaSet, together: int | None = None, features: Tensor | None = None
    ) -> Iterator[Episodes]:
        """The episodes of an evaluation, `together` at a time; None: as many as `images_at_once` allows.

        The same episodes on every device, though a GPU takes several draws at a time: it is idle while a few images
        are launched. With the features [classes, images a class, d] of the meta-set's images, these in their place.
        """
        sets, whole = evaluation_sets(self.problem), self.context.episodes
        size = max(1, images_at_once(self.problem.dataset) // (sets.way * (sets.shot + sets.query)))
        draws = at_a_time(self.context.device)
        for begin in range(0, whole, size * draws):
            firsts = range(begin, min(begin + size * draws, whole), size)
            drawn = [
                self.episodes(part, sets, min(size, whole - first), part, first, features=features) for first in firsts
            ]
            yield from joined(drawn).split(together or size * draws)


def at_a_time(device: torch.device) -> int:
    """How often as many images as `images_at_once` allows go through the network together in an evaluation."""
    return AT_A_TIME_ON_A_GPU if device.type == "cuda" else 1


def augmentation(dataset: EpisodeDataset) -> Augmentation | None:
    """What is done to images of meta-training as they are drawn."""
    if not isinstance(dataset, MiniImagenet):
        return None
    return Augmentation(dataset.reflections, dataset.smallest_crop, dataset.colours)


def sampling(problem: spec.FewShot, context: Context, split_seed: int | None = None) -> Sampling:
    """From the problem's data set, whose images lie on the device; classes are split by the context's seed or this one.

    Raises:
        DataMissing: there is no prepared file, or it lacks what the split needs.
        DataInvalid: it does not have the arrays, or not of the right shapes.
    """
    seed = context.seed if split_seed is None else split_seed
    images, groups = load_class_images(problem.dataset, seed=seed, data_dir=context.data_dir)
    return Sampling(problem, context, Loaded(ClassImages(*(part.to(context.device) for part in images)), groups))
