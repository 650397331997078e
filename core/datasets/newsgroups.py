"""20 newsgroups by date: tf-idf of the most frequent words.

tf-idf of word j in document i: count_ij (ln((1 + n) / (1 + df_j)) + 1), rows scaled to Euclidean norm 1, with n and df
counted on the training documents alone.
"""

from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from core.datasets.prepared import Array, read
from core.datasets.table import Table

TRAIN, TEST = 11_314, 7_532


def load(path: Path, *, words: int) -> Table:
    """Reads 20news-counts.npz and keeps the `words` words that most training documents hold; float32, dense."""
    shapes: dict[str, tuple[int | None, ...]] = {"y_train": (TRAIN,), "y_test": (TEST,)}
    for part, documents in (("train", TRAIN), ("test", TEST)):
        shapes |= {f"{part}_data": (None,), f"{part}_indices": (None,), f"{part}_indptr": (documents + 1,)}
        shapes |= {f"{part}_shape": (2,)}
    arrays = read(path, shapes)
    train, test = _counts(arrays, "train"), _counts(arrays, "test")
    frequency = np.bincount(train.indices, minlength=train.shape[1])  # documents that hold the word
    kept = np.sort(np.argsort(-frequency, kind="stable")[:words])
    idf = np.log((1 + train.shape[0]) / (1 + frequency[kept])) + 1
    return Table(
        _tf_idf(train[:, kept], idf),
        torch.from_numpy(arrays["y_train"]).to(torch.int64),
        _tf_idf(test[:, kept], idf),
        torch.from_numpy(arrays["y_test"]).to(torch.int64),
    )


def _counts(arrays: dict[str, Array], part: str) -> csr_matrix:
    data, indices, indptr = (arrays[f"{part}_{name}"] for name in ("data", "indices", "indptr"))
    return csr_matrix((data.astype(np.float64), indices, indptr), shape=tuple(arrays[f"{part}_shape"]))


def _tf_idf(counts: csr_matrix, idf: Array) -> Tensor:
    weighted = counts.multiply(idf).tocsr()
    norms = np.sqrt(weighted.multiply(weighted).sum(axis=1)).A1
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)  # a document without kept words is 0
    weighted = csr_matrix(weighted.multiply(scale[:, None]), dtype=np.float32)
    return torch.from_numpy(weighted.toarray())
