"""Images of the classes that episodes are sampled from, whatever data set they are of."""

from pathlib import Path
from typing import NamedTuple, assert_never

from core.datasets.class_sets import ClassGroups, ClassImages
from core.datasets.mini_imagenet import load_mini_imagenet
from core.datasets.omniglot import load_omniglot, omniglot_groups
from core.spec.datasets import EpisodeDataset, MiniImagenet, Omniglot


class Loaded(NamedTuple):
    """What a data set gives."""

    images: ClassImages
    groups: ClassGroups | None
    """Which classes can meet in a task; None: all of a meta-set."""


def load_class_images(dataset: EpisodeDataset, *, seed: int, data_dir: Path) -> Loaded:
    """Reads the prepared file and makes the meta-sets.

    Raises:
        DataMissing: there is no prepared file, or it lacks what the split needs.
        DataInvalid: it does not have the arrays, or not of the right shapes.
    """
    match dataset:
        case Omniglot():
            images = load_omniglot(dataset, seed=seed, data_dir=data_dir)
            return Loaded(images, omniglot_groups(dataset, seed=seed, data_dir=data_dir))
        case MiniImagenet():
            return Loaded(load_mini_imagenet(dataset, data_dir=data_dir), None)
        case _:
            assert_never(dataset)
