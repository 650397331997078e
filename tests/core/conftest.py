"""Data that tests of the core share."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from core.datasets.class_images import load_class_images
from core.problems import sampling


@pytest.fixture(scope="session", autouse=True)
def loaded_once() -> Iterator[None]:
    """Problems that are built one after the other on the same images share them; loading is most of a small one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "load_class_images", lru_cache(maxsize=2)(load_class_images))
        yield


@pytest.fixture(scope="session")
def synthetic_omniglot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose omniglot-28.npz has random characters that can be told apart: a pattern each, and noise."""
    folder = tmp_path_factory.mktemp("omniglot")
    generator = np.random.default_rng(0)
    patterns = generator.integers(0, 2, (1623, 1, 7, 7), dtype=np.uint8).repeat(4, axis=2).repeat(4, axis=3)
    noise = generator.integers(0, 100, (1623, 20, 28, 28), dtype=np.uint8)
    split = np.repeat(np.arange(3, dtype=np.int8), [1028, 172, 423])
    np.savez(
        folder / "omniglot-28.npz",
        images=patterns * np.uint8(155) + noise,
        vinyals_split=split,
        names=np.array([f"Alphabet/character{i}" for i in range(1623)]),
    )
    return folder


@pytest.fixture(scope="session")
def synthetic_alphabets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose omniglot-28.npz has 30 background and 20 other alphabets, which the images' ink tells."""
    folder = tmp_path_factory.mktemp("alphabets")
    more = [np.arange(964 - 30 * 14) % 30, 30 + np.arange(659 - 20 * 14) % 20]  # 964 and 659 characters in all
    alphabet = np.sort(np.concatenate([np.arange(50).repeat(14), *more])).astype(np.uint8)
    images = np.zeros((1623, 20, 28, 28), dtype=np.uint8)
    images[:, :, 4:9, 2:22] = (alphabet + 100)[:, None, None, None]
    np.savez_compressed(
        folder / "omniglot-28.npz",
        images=images,
        alphabet=alphabet,
        background=alphabet < 30,
        names=np.array([f"Alphabet{number}/character{i}" for i, number in enumerate(alphabet)]),
    )
    return folder
