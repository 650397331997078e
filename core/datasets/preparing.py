"""Makes a prepared file from the original distribution: converted, read back by the data set's loader, renamed."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

from core.datasets.catalog import ENTRIES
from core.datasets.class_images import load_class_images
from core.datasets.finding import find
from core.datasets.originals import convert
from core.datasets.prepared import content_digest, write
from core.datasets.tables import load_table
from core.errors import DataInvalid
from core.spec.catalog import KINDS, kind_of
from core.spec.datasets import ClassesOfImages, EpisodeDataset, TableDataset


class Prepared(NamedTuple):
    """What was made."""

    path: Path
    sha256: str
    """Hash of the file."""
    published: bool
    """Whether the content is that of the published data set to the bit, but for arrays that depend on who made the
    files (`Entry.identity`)."""


def prepare(kind: str, files: Sequence[Path], data_dir: Path) -> Prepared:
    """Writes the prepared file into `data_dir`, whole or not at all; an older one is replaced.

    Raises:
        DataInvalid: the files are not the original distribution; nothing was written.
    """
    entry = ENTRIES[kind]
    arrays = convert(kind, files)
    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data_dir, prefix=".preparing-") as staging:
        staged, path = Path(staging, entry.files[0]), data_dir / entry.files[0]
        write(staged, arrays)
        try:
            load(kind, Path(staging))
        except DataInvalid as error:
            reason = str(error).replace(f"{staging}{os.sep}", "")
            raise DataInvalid(f"These files are not the whole of {kind}: {reason}") from error
        with staged.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        os.replace(staged, path)
    return Prepared(path, sha256, content_digest(arrays, entry.identity or entry.keys) == entry.content)


def load(kind: str, data_dir: Path) -> None:
    """Reads a data set as an experiment with default settings would, and forgets it."""
    find(kind, data_dir)
    dataset = next(member for member in KINDS["dataset"] if kind_of(member) == kind)()
    if isinstance(dataset, ClassesOfImages):
        load_class_images(cast(EpisodeDataset, dataset), seed=0, data_dir=data_dir)
    else:
        load_table(cast(TableDataset, dataset), data_dir)
