"""The idx format of MNIST: two zeros, the type (8: unsigned byte), the number of axes, their sizes, the bytes."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from core.datasets.prepared import Array
from core.errors import DataInvalid


def mnist(train_images: Path, train_labels: Path, test_images: Path, test_labels: Path) -> dict[str, Array]:
    """The arrays of mnist.npz from the four idx files, gzipped or not."""
    arrays = {
        "x_train": read_idx(train_images, 3),
        "y_train": read_idx(train_labels, 1),
        "x_test": read_idx(test_images, 3),
        "y_test": read_idx(test_labels, 1),
    }
    for part, path in (("train", train_labels), ("test", test_labels)):
        images, labels = len(arrays[f"x_{part}"]), len(arrays[f"y_{part}"])
        if images != labels:
            raise DataInvalid(f"{path} has {labels} labels for {images} images: check the order of the files")
    return arrays


def read_idx(path: Path, axes: int) -> Array:
    """An array of unsigned bytes with the given number of axes.

    Raises:
        DataInvalid: the file is no such array, or shorter or longer than it says.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        raise DataInvalid(f"{path} cannot be read: {error}") from error
    start = 4 + 4 * axes
    if len(content) < start or content[:4] != bytes((0, 0, 8, axes)):
        raise DataInvalid(f"{path} is not an idx file of unsigned bytes with {axes} axes: check the order of the files")
    shape = struct.unpack(f">{axes}I", content[4:start])
    values = np.frombuffer(content, dtype=np.uint8, offset=start)
    if len(values) != np.prod(shape):
        raise DataInvalid(f"{path} holds {len(values)} bytes, not {shape}: it is damaged")
    return values.reshape(shape)
