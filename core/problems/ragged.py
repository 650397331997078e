"""Tasks with different numbers of classes in one meta-batch (section 1 of the paper: output spaces by task).

Their sets are padded to the most classes that a task may have, so that shapes never change; what only pads is in no
set of the norms, in no softmax and in no mean. The problem is that of a loop over tasks without padding.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from core.bilevel import ragged_heads, softmax_heads
from core.bilevel.dynamics import full_batch
from core.bilevel.problem import Dynamics, Problem, Tree
from core.problems.inner import Inner, entry


class RaggedHeads(NamedTuple):
    """The inner problem, once the features are there."""

    support_labels: Tensor
    """[B, way * shot], `ragged_heads.ABSENT` where an example only pads."""
    query_labels: Tensor
    """[B, way * query], likewise."""
    ways: Tensor
    """[B]."""
    way: int
    l2: float

    def state(self, inner: Inner, embed: Callable[[Tree], Tree] | None = None) -> tuple[Problem, Dynamics]:
        """Stated in z = {"support", "query", outer variables of the dynamics}."""
        loss = partial(ragged_heads.inner_objective, support_labels=self.support_labels, ways=self.ways, l2=self.l2)
        outer = partial(ragged_heads.outer_objective, query_labels=self.query_labels, ways=self.ways)
        init = partial(softmax_heads.init, way=self.way)
        return Problem(loss, outer, init, embed=embed), inner.dynamics(full_batch(loss), init)

    def fit(self, inner: Inner, z: Tree) -> Tree:
        """w_T."""
        return inner.solve(*self.state(inner), z)

    def score(self, w: Tree, z: Tree) -> tuple[Tensor, Tensor]:
        """Accuracy [B] and mean cross-entropy [B] of the query sets."""
        scores, there = ragged_heads.scores(w, entry(z, "query"), self.ways), self.query_labels != ragged_heads.ABSENT
        right = (scores.argmax(-1) == self.query_labels).double().sum(1) / there.sum(1)
        return right, ragged_heads.mean_losses(scores, self.query_labels).double()

    def present(self, names: Iterable[str]) -> Tensor:
        """Which images of the named sets do not only pad them: bool, one set behind the other."""
        labels = {"support": self.support_labels, "query": self.query_labels}
        return torch.cat([(labels[name] != ragged_heads.ABSENT).flatten() for name in names])
