"""Heads of few-shot tasks: the inner problem, once the features of all images of a meta-batch are there."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple, assert_never

import torch
from torch import Tensor

from core.bilevel import prototypes, ridge_heads, softmax_heads
from core.bilevel.derivatives import WithGradient
from core.bilevel.dynamics import full_batch
from core.bilevel.episode_features import ABSENT, masked, mean_losses, padded
from core.bilevel.problem import Dynamics, Method, Objective, Problem, Tree
from core.problems.inner import Inner, entry
from core.spec import heads as spec


class Functions(NamedTuple):
    """Heads of one kind, stated in z = {"support", "query", outer variables of heads and dynamics}."""

    inner: Objective
    outer: Objective
    init: Callable[[Tree], Tree]
    scores: Callable[[Tree, Tree], Tensor]
    """(w, z) -> scores of the query sets [B, q, way]."""
    solution: Callable[[Tree], Tree] | None = None


class Heads(NamedTuple):
    """Heads of one kind with the labels of their sets."""

    support_labels: Tensor
    """[n]; [B, n] where tasks have different numbers of classes."""
    query_labels: Tensor
    """[q] or [B, q]."""
    way: int
    """The most classes of a task."""
    l2: float = 0.0
    kind: spec.Heads = spec.SoftmaxHeads()
    ways: Tensor | None = None
    """Classes of each task [B]; None: all have `way`."""

    def of(self, ways: Tensor | None) -> "Heads":
        """Of tasks with these numbers of classes [B], padded to the most that one may have; None: all have as many.

        Shapes never change then, and what only pads is in no set of the norms, in no softmax and in no mean: the
        problem is that of a loop over tasks without padding (section 1 of the paper: output spaces by task).
        """
        if ways is None:
            return self
        support, query = (padded(whole, ways) for whole in (self.support_labels, self.query_labels))
        return self._replace(support_labels=support, query_labels=query, ways=ways)

    def present(self, names: Iterable[str]) -> Tensor | None:
        """Which images of the named sets do not only pad them: bool, one set behind the other; None: all."""
        if self.ways is None:
            return None
        labels = {"support": self.support_labels, "query": self.query_labels}
        return torch.cat([(labels[name] != ABSENT).flatten() for name in names])

    def functions(self) -> Functions:
        """The two objectives, w_0, the scores, and the closed form where there is one."""
        support, query, way, ways = self.support_labels, self.query_labels, self.way, self.ways
        match self.kind:
            case spec.SoftmaxHeads():
                inner, slope = (
                    partial(function, support_labels=support, ways=ways, l2=self.l2)
                    for function in (softmax_heads.inner_objective, softmax_heads.inner_gradient)
                )
                return Functions(
                    WithGradient(inner, slope),
                    partial(softmax_heads.outer_objective, query_labels=query, ways=ways),
                    partial(softmax_heads.init, way=way),
                    lambda w, z: softmax_heads.scores(w, entry(z, "query")),
                )
            case spec.RidgeHeads():
                return Functions(
                    partial(ridge_heads.inner_objective, support_labels=support, way=way),
                    partial(ridge_heads.outer_objective, query_labels=query, ways=ways),
                    partial(softmax_heads.init, way=way),
                    ridge_heads.scores,
                    partial(ridge_heads.solution, support_labels=support, way=way),
                )
            case spec.PrototypeHeads():
                return Functions(
                    partial(prototypes.inner_objective, support_labels=support, way=way, ways=ways),
                    partial(prototypes.outer_objective, query_labels=query, ways=ways),
                    partial(prototypes.init, way=way),
                    prototypes.scores,
                    partial(prototypes.solution, support_labels=support, way=way),
                )
            case _:
                assert_never(self.kind)

    def state(self, inner: Inner, embed: Callable[[Tree], Tree] | None = None) -> tuple[Problem, Dynamics]:
        """Stated in z."""
        stated = self.functions()
        problem = Problem(stated.inner, stated.outer, stated.init, stated.solution, embed=embed)
        return problem, inner.dynamics(full_batch(stated.inner), stated.init)

    def fit(self, inner: Inner, z: Tree) -> Tree:
        """w_T, or what stands in for it: in the span of the support features where heads and dynamics allow that."""
        rate, labels = inner.steady_rate, self.support_labels
        if not isinstance(self.kind, spec.SoftmaxHeads) or rate is None or self.ways is not None:
            return inner.solve(*self.state(inner), z)
        return softmax_heads.fitted(z, steps=inner.steps, support_labels=labels, way=self.way, rate=rate, l2=self.l2)

    def score(self, w: Tree, z: Tree) -> tuple[Tensor, Tensor]:
        """Accuracy [B] and mean cross-entropy [B] of the query sets."""
        scores, labels = masked(self.functions().scores(w, z), self.ways), self.query_labels
        right = (scores.argmax(-1) == labels).double().sum(-1) / (labels != ABSENT).sum(-1)
        return right, mean_losses(scores, labels).double()

    def dual_walk(self, inner: Inner) -> Method:
        """Algorithm 1 in the span of the support features; only right for softmax heads under gradient descent."""
        assert isinstance(self.kind, spec.SoftmaxHeads)
        assert self.ways is None
        return partial(
            softmax_heads.dual_walk,
            support_labels=self.support_labels,
            query_labels=self.query_labels,
            way=self.way,
            rate=inner.rate,
            l2=self.l2,
        )

    def initial(self) -> dict[str, Tree]:
        """Outer variables of the heads at hyperiteration 0."""
        if not isinstance(self.kind, spec.RidgeHeads):
            return {}
        strength, scale = (torch.tensor(value, dtype=torch.float64) for value in (self.kind.strength, self.kind.scale))
        return {"log_strength": strength.log(), "scale": scale, "offset": torch.zeros_like(scale)}

    def carried(self, lam: Tree) -> dict[str, Tree]:
        """The entries of lam that the heads read, for an embedding to carry along."""
        return {name: entry(lam, name) for name in self.initial()}

    def natural(self, lam: Tree) -> dict[str, Tensor]:
        """Outer variables of the heads in natural units."""
        if not isinstance(self.kind, spec.RidgeHeads):
            return {}
        return {"strength": ridge_heads.strength(lam), **{name: entry(lam, name) for name in ("scale", "offset")}}


def labelled(
    way: int, shot: int, query: int, *, device: torch.device, l2: float = 0.0, kind: spec.Heads | None = None
) -> Heads:
    """Heads whose examples are ordered by class."""
    labels = torch.arange(way, device=device)
    return Heads(labels.repeat_interleave(shot), labels.repeat_interleave(query), way, l2, kind or spec.SoftmaxHeads())
