"""Data that tests of the core share."""

from pathlib import Path

import numpy as np
import pytest


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
