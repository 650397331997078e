"""Omniglot (Lake et al. 2015): handwritten characters, split by class, then rotated."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.bilevel.randomness import stream
from core.datasets.catalog import find, require
from core.datasets.prepared import read
from core.spec.datasets import Omniglot

CHARACTERS, IMAGES, SIDE = 1623, 20, 28


class ClassImages(NamedTuple):
    """Images of the classes of each meta-set, u8 [classes, images a class, channels, side, side]; ink is 255."""

    train: Tensor
    validation: Tensor
    test: Tensor


def load_omniglot(dataset: Omniglot, *, seed: int, data_dir: Path) -> ClassImages:
    """Reads omniglot-28.npz and makes the meta-sets.

    Characters are split first and rotated after, so that all rotations of a character are in one meta-set.

    Raises:
        DataMissing: there is no prepared file, or it has no lists for the split `vinyals`.
        DataInvalid: it does not have the arrays, or not of the right shapes.
    """
    require(dataset, data_dir)
    path = find(dataset.kind, data_dir)
    images = torch.from_numpy(read(path, {"images": (CHARACTERS, IMAGES, SIDE, SIDE)})["images"]).unsqueeze(2)
    if dataset.split == "vinyals":
        lists = read(path, {"vinyals_split": (CHARACTERS,)})["vinyals_split"]
        characters = [torch.from_numpy(np.flatnonzero(lists == part)) for part in range(3)]
    else:
        characters = list(split_characters(seed))
    train, validation, test = (images[rows] for rows in characters)
    if dataset.rotations:
        train, validation, test = rotate(train), rotate(validation), rotate(test)
    return ClassImages(train, validation, test)


def split_characters(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """The split of the paper's code: all characters shuffled by seed, 1200 / 100 / 323."""
    order = torch.randperm(CHARACTERS, generator=stream(seed, "omniglot", "split"))
    return order[:1200], order[1200:1300], order[1300:]


def rotate(images: Tensor) -> Tensor:
    """Classes [c, ...] and their rotations by 90, 180 and 270 degrees as classes of their own: [4c, ...]."""
    return torch.cat([images.rot90(turns, dims=(-2, -1)) for turns in range(4)])
