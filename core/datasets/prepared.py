"""Prepared files: numpy archives, read with checks."""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.errors import DataInvalid

Array: TypeAlias = NDArray[Any]


def read(path: Path, shapes: Mapping[str, tuple[int | None, ...]]) -> dict[str, Array]:
    """Reads the named arrays of an npz file; None in a shape stands for any size.

    Raises:
        DataInvalid: the file is damaged, or an array is missing or of another shape.
    """
    arrays: dict[str, Array] = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in shapes:
                arrays[name] = archive[name]
    except KeyError as error:
        raise DataInvalid(f"{path} has no array {error.args[0]}: prepare it again") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataInvalid(f"{path} cannot be read ({error}): prepare it again") from error
    for name, shape in shapes.items():
        check_shape(path, name, arrays[name], shape)
    return arrays


def check_shape(path: Path, name: str, array: Array, shape: tuple[int | None, ...]) -> None:
    """Raises DataInvalid unless the array has the shape; None stands for any size."""
    sizes = zip(array.shape, shape, strict=False)
    if array.ndim != len(shape) or any(want is not None and size != want for size, want in sizes):
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise DataInvalid(f"{path}: array {name} has shape {array.shape}, not ({wanted}): prepare it again")


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes an npz file and waits until it is on the disk."""
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
        file.flush()
        os.fsync(file.fileno())


def content_digest(arrays: Mapping[str, Array], names: Iterable[str]) -> str:
    """sha256 over names, types, shapes and values of the named arrays, whatever compressed them."""
    digest = hashlib.sha256()
    for name in names:
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)  # no copy
    return digest.hexdigest()
