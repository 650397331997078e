"""Turns the original distribution of each data set into the arrays of its prepared file; one file a format."""

from collections.abc import Sequence
from pathlib import Path

from core.datasets.catalog import ENTRIES
from core.datasets.originals import idx, image_lists, libsvm_text, newsgroups_archive, omniglot_zips, tabular_text
from core.datasets.prepared import Array
from core.errors import DataInvalid

UNPACKED = ("mini_imagenet",)
"""Data sets whose last original may be a folder."""


def convert(kind: str, files: Sequence[Path]) -> dict[str, Array]:
    """The arrays of the prepared file, from the original files in the order of the catalogue.

    Raises:
        DataInvalid: the files are too few or too many, or not what they should be; the message names the file.
    """
    entry = ENTRIES[kind]
    names = [address.rsplit("/", 1)[-1] for address in entry.originals]
    if not entry.required <= len(files) <= len(names):
        optional = f", then optionally {' '.join(names[entry.required :])}" if names[entry.required :] else ""
        raise DataInvalid(
            f"{kind} is made from {' '.join(names[: entry.required])} in this order{optional}; {len(files)} files given"
        )
    for path in files:
        if not path.is_file() and not (path == files[-1] and path.is_dir() and kind in UNPACKED):
            raise DataInvalid(f"{path} is not a file")
    match kind:
        case "mnist":
            return idx.mnist(*files)
        case "20news":
            return newsgroups_archive.newsgroups(*files)
        case "a9a":
            return libsvm_text.binary("a9a", files[0], 123) | libsvm_text.binary("a9a_t", files[1], 123)
        case "w8a":
            return libsvm_text.binary("w8a", files[0], 300)
        case "german":
            return libsvm_text.german(*files)
        case "housing":
            return tabular_text.housing(*files)
        case "magic":
            return tabular_text.magic(*files)
        case "omniglot":
            return omniglot_zips.omniglot(files[0], files[1], files[2:])
        case "mini_imagenet":
            return image_lists.mini_imagenet(files[:3], files[3])
        case _:
            raise DataInvalid(f"{kind} comes with scikit-learn: there is nothing to prepare")
