from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

from core.datasets import newsgroups
from core.datasets.tables import load_table
from core.spec.datasets import Newsgroups

TRAIN = ["zebra apple apple cat", "cat dog apple", "dog dog emu", "cat frog apple"]
TEST = ["apple emu emu", "unseen words"]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(newsgroups, "TRAIN", len(TRAIN))
    monkeypatch.setattr(newsgroups, "TEST", len(TEST))
    vectorizer = CountVectorizer()
    arrays = {"y_train": np.arange(4, dtype=np.uint8), "y_test": np.arange(2, dtype=np.uint8)}
    for part, counts in (("train", vectorizer.fit_transform(TRAIN)), ("test", vectorizer.transform(TEST))):
        arrays |= {f"{part}_{name}": getattr(counts, name) for name in ("data", "indices", "indptr")}
        arrays[f"{part}_shape"] = np.array(counts.shape)
    np.savez(tmp_path / "20news-counts.npz", **arrays)  # type: ignore[arg-type]
    return tmp_path / "20news-counts.npz"


def test_all_words_agree_with_scikit_learn_fitted_on_training_documents(file: Path) -> None:
    counts = CountVectorizer().fit(TRAIN)
    tf_idf = TfidfTransformer().fit(counts.transform(TRAIN))
    table = newsgroups.load(file, words=6)
    assert table.test_x is not None
    np.testing.assert_allclose(table.x, tf_idf.transform(counts.transform(TRAIN)).toarray(), atol=1e-7)
    np.testing.assert_allclose(table.test_x, tf_idf.transform(counts.transform(TEST)).toarray(), atol=1e-7)


def test_the_words_that_most_training_documents_hold_are_kept(file: Path) -> None:
    x = newsgroups.load(file, words=2).x  # apple and cat are in 3 documents each, dog in 2 (three times)
    assert (x > 0).tolist() == [[True, True], [True, True], [False, False], [True, True]]


def test_a_document_without_kept_words_is_zero(file: Path) -> None:
    table = newsgroups.load(file, words=6)
    assert table.test_x is not None
    assert table.test_x[1].tolist() == [0] * 6


@pytest.mark.data
def test_rows_have_norm_one(data_dir: Path) -> None:
    table = load_table(Newsgroups(words=500), data_dir)
    norms = table.x.norm(dim=1)
    torch.testing.assert_close(norms[norms > 0], torch.ones_like(norms[norms > 0]))
    assert (norms > 0).float().mean() > 0.99
