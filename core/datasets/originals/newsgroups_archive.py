"""20news-bydate.tar.gz: a folder for each part, in it a folder for each newsgroup, in it a file for each posting."""

import tarfile
import zlib
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer

from core.datasets.prepared import Array
from core.errors import DataInvalid

Postings = dict[str, bytes]
"""Group/number -> text."""


def newsgroups(path: Path) -> dict[str, Array]:
    """Word counts of both parts (CSR), words of the training part; postings by group and name, headers kept."""
    train, test = _postings(path)
    groups = sorted({name.split("/")[0] for name in train})
    if not train or not test or {name.split("/")[0] for name in test} - set(groups):
        raise DataInvalid(f"{path} has no folders 20news-bydate-train and 20news-bydate-test of the same groups")
    vectorizer = CountVectorizer(encoding="latin-1", dtype=np.int64)
    counts = {"train": vectorizer.fit_transform(train.values()), "test": vectorizer.transform(test.values())}
    arrays: dict[str, Array] = {}
    for part, postings in (("train", train), ("test", test)):
        arrays |= _csr(part, counts[part])
        arrays[f"y_{part}"] = np.array([groups.index(name.split("/")[0]) for name in postings], dtype=np.uint8)
        arrays[f"{part}_files"] = np.array(list(postings))
    words = "\n".join(vectorizer.get_feature_names_out()).encode()
    return arrays | {"target_names": np.array(groups), "vocabulary_utf8": np.frombuffer(words, dtype=np.uint8)}


def _postings(path: Path) -> tuple[Postings, Postings]:
    train: Postings = {}
    test: Postings = {}
    parts = {"20news-bydate-train": train, "20news-bydate-test": test}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                *_, part, group, number = ("", "", *member.name.split("/"))
                file = archive.extractfile(member) if part in parts else None
                if file is not None:
                    parts[part][f"{group}/{number}"] = file.read()
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        raise DataInvalid(f"{path} is not a readable tar.gz archive: {error}") from error
    return dict(sorted(train.items())), dict(sorted(test.items()))


def _csr(part: str, counts: csr_matrix) -> dict[str, Array]:
    counts.sort_indices()
    return {
        f"{part}_data": counts.data.astype(np.uint16),
        f"{part}_indices": counts.indices.astype(np.int32),
        f"{part}_indptr": counts.indptr.astype(np.int32),
        f"{part}_shape": np.array(counts.shape, dtype=np.int32),
    }
