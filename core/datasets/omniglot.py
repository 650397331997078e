"""Omniglot (Lake et al. 2015): handwritten characters, split by class, then rotated and reflected."""

from pathlib import Path
from typing import assert_never

import numpy as np
import torch
from torch import Tensor

from core.bilevel.randomness import stream
from core.datasets.class_sets import ClassGroups, ClassImages
from core.datasets.finding import find, require
from core.datasets.prepared import read
from core.spec.datasets import Omniglot

CHARACTERS, IMAGES, SIDE = 1623, 20, 28


def load_omniglot(dataset: Omniglot, *, seed: int, data_dir: Path) -> ClassImages:
    """Reads omniglot-28.npz and makes the meta-sets; ink is 255.

    Characters are split first, rotated and reflected after: all forms of a character are in one meta-set.

    Raises:
        DataMissing: there is no prepared file, or it lacks what the split needs.
        DataInvalid: it does not have the arrays, or not of the right shapes.
    """
    require(dataset, data_dir)
    path = find(dataset.kind, data_dir)
    images = torch.from_numpy(read(path, {"images": (CHARACTERS, IMAGES, SIDE, SIDE)})["images"]).unsqueeze(2)
    train, validation, test = (images[rows] for rows in _characters(dataset, path, seed))
    if dataset.rotations:
        train, validation, test = rotate(train), rotate(validation), rotate(test)
    if dataset.reflections:
        train = torch.cat([train, train.flip(-1)])
    return ClassImages(train, validation, test)


def omniglot_groups(dataset: Omniglot, *, seed: int, data_dir: Path) -> ClassGroups | None:
    """Alphabet, rotation and reflection of each class, numbered from 0; None where they may mix.

    In the order of `load_omniglot`.
    """
    if dataset.split != "alphabets":
        return None
    path = find(dataset.kind, data_dir)
    alphabets = torch.from_numpy(read(path, {"alphabet": (CHARACTERS,)})["alphabet"]).long()
    groups = [_numbered(alphabets[rows]) for rows in _characters(dataset, path, seed)]
    if dataset.rotations:
        groups = [_repeated(group, 4) for group in groups]
    if dataset.reflections:
        groups[0] = _repeated(groups[0], 2)
    return ClassGroups(*groups)


def _repeated(groups: Tensor, times: int) -> Tensor:
    """The same classes so many times, each time in groups of their own."""
    return torch.cat([groups + number * (int(groups.max()) + 1) for number in range(times)])


def _numbered(values: Tensor) -> Tensor:
    """Each value's place, from 0, among those that occur."""
    return torch.from_numpy(np.unique(values.numpy(), return_inverse=True)[1])


def _characters(dataset: Omniglot, path: Path, seed: int) -> tuple[Tensor, ...]:
    """The characters of each meta-set."""
    match dataset.split:
        case "paper":
            return split_characters(seed)
        case "vinyals":
            lists = read(path, {"vinyals_split": (CHARACTERS,)})["vinyals_split"]
            return tuple(torch.from_numpy(np.flatnonzero(lists == part)) for part in range(3))
        case "alphabets":
            arrays = read(path, {"alphabet": (CHARACTERS,), "background": (CHARACTERS,)})
            return split_alphabets(*(torch.from_numpy(arrays[name]) for name in ("alphabet", "background")), seed=seed)
        case _:
            assert_never(dataset.split)


def split_characters(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """The split of the paper's code: all characters shuffled by seed, 1200 / 100 / 323."""
    order = torch.randperm(CHARACTERS, generator=stream(seed, "omniglot", "split"))
    return order[:1200], order[1200:1300], order[1300:]


def split_alphabets(alphabet: Tensor, background: Tensor, *, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """The characters of the background alphabets, and of either half of the others, which the seed shuffles."""
    others = torch.from_numpy(np.unique(alphabet[~background].numpy()))
    order = others[torch.randperm(len(others), generator=stream(seed, "omniglot", "alphabets"))]
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    validation, test = (torch.isin(alphabet, half).nonzero().squeeze(1) for half in halves)
    return background.nonzero().squeeze(1), validation, test


def rotate(images: Tensor) -> Tensor:
    """Classes [c, ...] and their rotations by 90, 180 and 270 degrees as classes of their own: [4c, ...]."""
    return torch.cat([images.rot90(turns, dims=(-2, -1)) for turns in range(4)])
