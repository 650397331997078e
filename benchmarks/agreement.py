"""Before anything is timed: all implementations give the same hypergradient."""

from collections.abc import Mapping, Sequence

import numpy as np

from core.bilevel import trees
from core.bilevel.problem import Tree


def arrays(tree: Tree) -> list[np.ndarray]:
    """The leaves, as peers give them."""
    return [leaf.detach().numpy() for leaf in trees.leaves(tree)]


def require_agreement(hypergradients: Mapping[str, Sequence[np.ndarray]], tolerance: float) -> None:
    """The norm of each one's difference from the first is at most `tolerance` of the first's norm.

    Raises:
        RuntimeError: names the one that differs, and by how much.
    """
    first, reference = next(iter(hypergradients.items()))
    for name, hypergradient in hypergradients.items():
        error = relative_error(hypergradient, reference)
        if not error <= tolerance:
            raise RuntimeError(f"{name} differs from {first} by {error:.1e}: not the same hypergradient")


def relative_error(hypergradient: Sequence[np.ndarray], reference: Sequence[np.ndarray]) -> float:
    """The norm of the difference over that of the reference."""
    wanted = _flat(reference)
    return float(np.linalg.norm(_flat(hypergradient) - wanted) / np.linalg.norm(wanted))


def _flat(leaves: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in leaves])
