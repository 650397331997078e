"""Hyper-representation for few-shot learning, equations (9)-(10) and Algorithm 1 of the paper.

The representation h_lam is outer; a head a task is inner, from w_0 = 0. With z = h_lam of all images of the meta-batch,
L sums over tasks the mean loss of the support set (cross-entropy for softmax heads) and E averages the mean
cross-entropy of the query set, or of the support set itself where that is the outer set.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from core.bilevel.problem import Dynamics, Problem, Tasks, Tree
from core.bilevel.randomness import stream
from core.datasets.episodes import Episodes, joined
from core.models.model import Representation
from core.problems import cross_fitting
from core.problems.artifacts import learned
from core.problems.few_shot import Network, Scoring, network
from core.problems.heads import Heads, labelled
from core.problems.inner import Inner, entry
from core.problems.instance import HIGHEST_ACCURACY, Context, Instance
from core.problems.sampling import Sampling, sampling
from core.spec import problems as spec
from core.spec.sizes import training_sets

__all__ = ["FewShot", "heads", "hyper_representation", "network"]


def heads(problem: spec.HyperRepresentation, context: Context) -> Heads:
    """The heads of meta-training: the labels of the outer set stand for those of the query set."""
    way, shot, query = training_sets(problem)
    return labelled(way, shot, query or shot, device=context.device, l2=problem.l2, kind=problem.heads)


@dataclass(frozen=True)
class FewShot:
    """The meta-batches of meta-training, and the network that makes features of them."""

    problem: spec.HyperRepresentation
    model: Representation
    inner: Inner
    context: Context
    sampling: Sampling
    heads: Heads

    def at(self, k: int) -> tuple[Problem, Dynamics]:
        """The meta-batch of hyperiteration k."""
        episodes = self.meta_batch(k)
        data: dict[str, Tree] = {**self.sets(episodes), **({} if episodes.ways is None else {"ways": episodes.ways})}
        problem, dynamics = self.state(data)
        return replace(problem, tasks=Tasks(data, self.state, self.problem.task_chunk)), dynamics

    def meta_batch(self, k: int) -> Episodes:
        """New episodes, or some of a fixed number of tasks."""
        problem, sets = self.problem, training_sets(self.problem)
        if problem.tasks is None:
            return self.sampling.episodes("train", sets, problem.meta_batch, "episodes", k)
        order = torch.randperm(problem.tasks, generator=stream(self.context.seed, "meta-batch", k))
        chosen = order[: problem.meta_batch].tolist()
        return joined([self.sampling.episodes("train", sets, 1, "task", task) for task in chosen])

    def sets(self, episodes: Episodes) -> dict[str, Tensor]:
        """Support and query sets [B, examples, ...] by name, or the sets that are either in turn [B, K, ...]."""
        if self.problem.cross_fitting:
            return {"sets": cross_fitting.cut(episodes, training_sets(self.problem).shot)}
        return episodes.sets()

    def state(self, data: Tree) -> tuple[Problem, Dynamics]:
        """The problem of tasks with these sets, and numbers of classes where they differ."""
        sets = dict(cast("dict[str, Tensor]", data))
        heads = self.heads.of(sets.pop("ways", None))
        return heads.state(self.inner, lambda lam: self.embed(lam, sets, heads))

    def embed(self, lam: Tree, sets: Mapping[str, Tensor], heads: Heads) -> Tree:
        """z: the features of the support and outer sets, and the outer variables of the dynamics and heads.

        Where there are no query sets the support features stand for theirs: D_val := D_tr.
        """
        made = self.network()
        if self.problem.cross_fitting:
            images = sets["sets"]
            found = entry(made.embed(lam, {"sets": images.flatten(0, 1)}, made.batch), "sets")
            z = cross_fitting.in_turn(found.view(*images.shape[:2], *found.shape[1:]), training_sets(self.problem).shot)
        else:
            z = made.embed(lam, sets, made.batch, heads.present(sets))
        outer = z.get("query", z["support"])
        return {**z, "query": outer, **self.inner.carried(lam), **self.heads.carried(lam)}

    def network(self) -> Network:
        """What makes features, centred where the spec says so."""
        return Network(self.model, self.context, self.problem.centred)

    def scoring(self) -> Scoring:
        """Evaluations: heads of the same kind on the sets that the spec says, always with query sets."""
        problem, device = self.problem, self.context.device
        scored = labelled(problem.way, problem.shot, problem.query, device=device, l2=problem.l2, kind=problem.heads)
        chunk, average = problem.task_chunk, problem.average_reflections
        return Scoring(problem, self.network(), self.inner, self.sampling, scored, chunk, average)


def hyper_representation(
    problem: spec.HyperRepresentation, model: Representation, inner: Inner, context: Context
) -> Instance:
    """Metrics over episodes: accuracy and loss, and the accuracy with either kind of statistics in the norms."""
    source = learned(problem, context.artifacts)
    drawn = sampling(problem, context, split_seed=None if source is None else source.seed)
    few_shot = FewShot(problem, model, inner, context, drawn, heads(problem, context))
    start = model.init(stream(context.seed, "initialization"))
    if source is not None:
        start = source.parameters(start)
    return Instance(
        initial=context.place({"representation": start, **inner.initial(), **few_shot.heads.initial()}),
        at=few_shot.at,
        evaluate=few_shot.scoring().evaluate,
        selection=HIGHEST_ACCURACY,
        natural=lambda lam: {**inner.natural(lam), **few_shot.heads.natural(lam)},
    )
