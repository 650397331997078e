"""Heads of few-shot tasks: the inner problem, once the features of all images of a meta-batch are there."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple, assert_never

import torch
from torch import Tensor
from torch.nn import functional

from core.bilevel import prototypes, ragged_heads, ridge_heads, softmax_heads
from core.bilevel.dynamics import full_batch
from core.bilevel.problem import Dynamics, Method, Objective, Problem, Tree
from core.problems.inner import Inner, entry
from core.problems.ragged import RaggedHeads
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
    """Heads of one kind with the labels of their sets, which are the same for all tasks."""

    support_labels: Tensor
    query_labels: Tensor
    way: int
    l2: float = 0.0
    kind: spec.Heads = spec.SoftmaxHeads()

    def of(self, ways: Tensor | None) -> "Heads | RaggedHeads":
        """Of tasks with these numbers of classes [B]; None: all have as many."""
        if ways is None:
            return self
        assert isinstance(self.kind, spec.SoftmaxHeads)
        support, query = (ragged_heads.labels(whole, ways) for whole in (self.support_labels, self.query_labels))
        return RaggedHeads(support, query, ways, self.way, self.l2)

    def present(self, names: Iterable[str]) -> None:
        """All images of the named sets are in one."""

    def functions(self) -> Functions:
        """The two objectives, w_0, the scores, and the closed form where there is one."""
        support, query, way = self.support_labels, self.query_labels, self.way
        match self.kind:
            case spec.SoftmaxHeads():
                return Functions(
                    partial(softmax_heads.inner_objective, support_labels=support, l2=self.l2),
                    partial(softmax_heads.outer_objective, query_labels=query),
                    partial(softmax_heads.init, way=way),
                    lambda w, z: softmax_heads.scores(w, entry(z, "query")),
                )
            case spec.RidgeHeads():
                return Functions(
                    partial(ridge_heads.inner_objective, support_labels=support, way=way),
                    partial(ridge_heads.outer_objective, query_labels=query),
                    partial(softmax_heads.init, way=way),
                    ridge_heads.scores,
                    partial(ridge_heads.solution, support_labels=support, way=way),
                )
            case spec.PrototypeHeads():
                return Functions(
                    partial(prototypes.inner_objective, support_labels=support, way=way),
                    partial(prototypes.outer_objective, query_labels=query),
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
        if not isinstance(self.kind, spec.SoftmaxHeads) or rate is None:
            return inner.solve(*self.state(inner), z)
        return softmax_heads.fitted(z, steps=inner.steps, support_labels=labels, way=self.way, rate=rate, l2=self.l2)

    def score(self, w: Tree, z: Tree) -> tuple[Tensor, Tensor]:
        """Accuracy [B] and mean cross-entropy [B] of the query sets."""
        scores = self.functions().scores(w, z)  # [B, q, way]
        labels = self.query_labels.expand(scores.shape[:2])
        loss = functional.cross_entropy(scores.mT, labels, reduction="none").mean(-1)
        return (scores.argmax(-1) == labels).double().mean(-1), loss.double()

    def dual_walk(self, inner: Inner) -> Method:
        """Algorithm 1 in the span of the support features; only right for softmax heads under gradient descent."""
        assert isinstance(self.kind, spec.SoftmaxHeads)
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
