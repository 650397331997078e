"""miniImageNet (Vinyals et al. 2016; split of Ravi and Larochelle 2017): colour images, decoded once into memory.

The prepared file holds the images as JPEG or WebP files one behind the other. All 60 000 decoded are 1.27 GB of bytes,
from which a meta-batch is drawn at once.
"""

import io
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.datasets.class_sets import ClassImages
from core.datasets.finding import find_all, require
from core.datasets.prepared import Array, check_shape, read
from core.errors import DataInvalid
from core.spec.datasets import MiniImagenet


class Encoded(NamedTuple):
    """What a prepared file holds, or two of them together."""

    path: Path
    files: list[memoryview]
    """A JPEG or WebP file for each image."""
    labels: Array
    """The class of each image, u8 [images]."""
    split: Array
    """For each class 0, 1 or 2: for meta-training, -validation or -test; u8 [classes]."""


def load_mini_imagenet(dataset: MiniImagenet, *, data_dir: Path) -> ClassImages:
    """Reads mini-imagenet-84.npz, or the two files with a part of the classes each, and decodes the images.

    Classes are in the order of their numbers, images in that of the file; on as many threads as torch has.

    Raises:
        DataMissing: there is no prepared file.
        DataInvalid: it does not have the arrays, or not all classes and images, or an image that cannot be read.
    """
    require(dataset, data_dir)
    parts = [_read(path) for path in find_all(dataset.kind, data_dir)]
    encoded = Encoded(
        parts[0].path,
        [file for part in parts for file in part.files],
        np.concatenate([part.labels for part in parts]),
        parts[0].split,
    )
    _check(encoded, dataset)
    train, validation, test = (_decoded(encoded, np.flatnonzero(encoded.split == part), dataset) for part in range(3))
    return ClassImages(train, validation, test)


def _read(path: Path) -> Encoded:
    shapes = {"data": (None,), "offsets": (None,), "labels": (None,), "class_split": (None,)}
    arrays = read(path, shapes)
    data, offsets, labels = arrays["data"].data, arrays["offsets"].tolist(), arrays["labels"]
    check_shape(path, "offsets", arrays["offsets"], (len(labels) + 1,))
    if offsets[0] != 0 or offsets[-1] != len(data) or offsets != sorted(offsets):
        raise DataInvalid(f"{path}: the offsets do not fit the data: prepare it again")
    files = [data[first:last] for first, last in pairwise(offsets)]
    return Encoded(path, files, labels, arrays["class_split"])


def _check(encoded: Encoded, dataset: MiniImagenet) -> None:
    """Raises DataInvalid unless all classes and images are there."""
    counts, wanted = tuple(int((encoded.split == part).sum()) for part in range(3)), dataset.class_counts()
    if counts != wanted:
        raise DataInvalid(f"{encoded.path}: {counts} classes for the meta-sets, not {wanted}: prepare it again")
    found = np.bincount(encoded.labels, minlength=len(encoded.split))
    if (found != dataset.images_per_class).any():
        label = int((found != dataset.images_per_class).argmax())
        raise DataInvalid(
            f"{encoded.path}: class {label} has {found[label]} images, not {dataset.images_per_class}: prepare it again"
        )


def _decoded(encoded: Encoded, classes: Array, dataset: MiniImagenet) -> Tensor:
    """u8 [classes, images a class, 3, side, side]; the images of a class are one thread's work."""
    shape = (len(classes), dataset.images_per_class, dataset.channels, dataset.side, dataset.side)
    images = np.empty(shape, dtype=np.uint8)

    def fill(place: int) -> None:
        for number, row in enumerate(np.flatnonzero(encoded.labels == classes[place])):
            images[place, number] = decode(encoded.files[row], dataset.side, f"{encoded.path}: image {row}")

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        list(threads.map(fill, range(len(classes))))
    return torch.from_numpy(images)


def decode(file: bytes | memoryview, side: int, name: str) -> Array:
    """The image in a JPEG, WebP or PNG file, u8 [3, side, side].

    Raises:
        DataInvalid: it cannot be read, or has another size; the message begins with the name.
    """
    from PIL import Image, UnidentifiedImageError  # only where images are decoded: other experiments do without

    try:
        with Image.open(io.BytesIO(file)) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise DataInvalid(f"{name} cannot be read ({error}): prepare it again") from error
    if pixels.shape != (side, side, 3):
        height, width, _ = pixels.shape
        raise DataInvalid(f"{name} has {width} x {height} pixels, not {side} x {side}: prepare it again")
    return pixels.transpose(2, 0, 1)
