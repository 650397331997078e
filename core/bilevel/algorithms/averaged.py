"""Averages of the outer variables along the hyperiterations (Polyak and Juditsky 1992), exponentially weighted.

a_k = sum_{i=1..k} d^{k-i} lam_i / sum_{i=1..k} d^{k-i}, as a_{k+1} = a_k + (1 - d) / (1 - d^{k+1}) (lam_{k+1} - a_k).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.problem import Algorithm, AlgorithmState, Tree, beside


def averaged(algorithm: Algorithm, *, decay: float) -> Algorithm:
    """The same algorithm, whose `outer` is a_k, with d = decay in [0, 1); lam_0 has no part in it.

    The average of a convex set's points is in the set: what keeps lam feasible keeps a_k feasible.
    """
    assert algorithm.inner is None, "inner variables that are kept belong to lam_k, not to an average"

    def init(lam: Tree) -> AlgorithmState:
        return AlgorithmState(lam, (algorithm.init(lam).aux, lam))

    @torch.no_grad()
    def step(k: int, state: AlgorithmState) -> tuple[AlgorithmState, Mapping[str, Tensor]]:
        own, average = beside(state)
        after, series = algorithm.step(k, own)
        weight = (1 - decay) / (1 - decay ** (k + 1))
        return AlgorithmState(after.lam, (after.aux, _toward(average, after.lam, weight))), series

    return Algorithm(init, step, outer=lambda state: beside(state)[1])


def _toward(average: Tree, lam: Tree, weight: float) -> Tree:
    leaves, structure = trees.flatten(average)
    return trees.unflatten(list(torch._foreach_lerp(leaves, trees.leaves_as(structure, lam), weight)), structure)
