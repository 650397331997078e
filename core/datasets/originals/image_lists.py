"""Ravi and Larochelle's train.csv, val.csv and test.csv (filename,label), with a folder or zip of the images."""

import csv
import io
import zipfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from core.datasets.prepared import Array
from core.errors import DataInvalid

SIDE = 84
QUALITY = 90
"""Of the WebP files of images that had to be resized."""
KEPT = ("JPEG", "WEBP", "PNG")
"""Formats that are kept to the byte where the size is right."""


class Listed(NamedTuple):
    """An image of a list; sorts by meta-set, class and name."""

    part: int
    wnid: str
    name: str


def mini_imagenet(lists: Sequence[Path], images: Path) -> dict[str, Array]:
    """Arrays of mini-imagenet-84.npz; `lists` are those for meta-training, -validation and -test, in this order.

    Images of 84x84 are kept to the byte; others are resized by Lanczos and kept as WebP.
    """
    listed = sorted(row for part, path in enumerate(lists) for row in _rows(part, path))
    classes = sorted({(row.part, row.wnid) for row in listed})
    if len({wnid for _, wnid in classes}) != len(classes):
        raise DataInvalid("a class is in two lists: train.csv, val.csv and test.csv have no class in common")
    read = _from_folder(images) if images.is_dir() else _from_zip(images)
    with ThreadPoolExecutor() as threads:
        files = list(threads.map(lambda row: shrink(read(row.name), row.name), listed))
    number = {each: index for index, each in enumerate(classes)}
    names = "\n".join(PurePosixPath(row.name).stem for row in listed).encode()
    return {
        "data": np.frombuffer(b"".join(files), dtype=np.uint8),
        "offsets": np.cumsum([0, *(len(file) for file in files)], dtype=np.int64),
        "labels": np.array([number[row[:2]] for row in listed], dtype=np.uint8),
        "class_wnids": np.array([wnid for _, wnid in classes]),
        "class_split": np.array([part for part, _ in classes], dtype=np.uint8),
        "image_names_utf8": np.frombuffer(names, dtype=np.uint8),
    }


def shrink(file: bytes, name: str) -> bytes:
    """The file itself if its image is 84x84, else one with the image resized."""
    try:
        with Image.open(io.BytesIO(file)) as image:
            if image.size == (SIDE, SIDE) and image.format in KEPT:
                return file
            small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise DataInvalid(f"{name} is not a readable image: {error}") from error
    shrunk = io.BytesIO()
    small.save(shrunk, "WEBP", quality=QUALITY)
    return shrunk.getvalue()


def _rows(part: int, path: Path) -> list[Listed]:
    try:
        with path.open(newline="", encoding="ascii") as file:
            header, *rows = [row for row in csv.reader(file) if row] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataInvalid(f"{path} is not a csv file: {error}") from error
    if header != ["filename", "label"] or not rows or any(len(row) != 2 for row in rows):
        raise DataInvalid(f"{path} is not a list `filename,label`: give train.csv val.csv test.csv in this order")
    return [Listed(part, wnid, name) for name, wnid in rows]


def _from_folder(folder: Path) -> Callable[[str], bytes]:
    """Finds images by name, however deep they lie."""
    places = {path.name: path for path in folder.rglob("*") if path.is_file()}

    def read(name: str) -> bytes:
        if name not in places:
            raise _missing(name, folder)
        return places[name].read_bytes()

    return read


def _from_zip(path: Path) -> Callable[[str], bytes]:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataInvalid(f"{path} is neither a folder nor a readable zip file: {error}") from error
    members = [name for name in archive.namelist() if not name.startswith("__MACOSX/")]
    places = {PurePosixPath(name).name: name for name in members if not name.endswith("/")}

    def read(name: str) -> bytes:
        if name not in places:
            raise _missing(name, path)
        try:
            return archive.read(places[name])
        except (OSError, zipfile.BadZipFile, zlib.error) as error:
            raise DataInvalid(f"{path}: {name} cannot be read: {error}") from error

    return read


def _missing(name: str, place: Path) -> DataInvalid:
    return DataInvalid(f"{place} has no image {name}, which the lists name: give the folder or zip with all of them")
