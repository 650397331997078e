"""Hyper-representation for few-shot learning, equations (9)-(10) and Algorithm 1 of the paper.

The representation h_lam is outer; a linear softmax head a task is inner, from w_0 = 0. With z = h_lam of all images of
the meta-batch, L sums over tasks the mean cross-entropy of the support set and E averages that of the query set.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

from core.bilevel import softmax_heads, trees
from core.bilevel.dynamics import full_batch
from core.bilevel.problem import Dynamics, Method, Problem, Tasks, Tree
from core.bilevel.randomness import stream
from core.datasets.class_images import load_class_images
from core.datasets.class_sets import ClassGroups, ClassImages
from core.datasets.episodes import Episodes, sample_episodes
from core.models.image_sets import ImageSets, image_sets
from core.models.model import Representation
from core.problems.inner import Inner, entry
from core.problems.instance import HIGHEST_ACCURACY, Context, Evaluation, Instance, Metrics, metric
from core.problems.ragged import RaggedHeads, ragged
from core.spec import problems as spec
from core.spec.sizes import images_at_once, population

Features = Callable[[Tree, Tensor, ImageSets], Tensor]
"""(lam, images [N, ...], the sets that they are of) -> features [N, F]."""


class Heads(NamedTuple):
    """The inner problem, once the features are there: all sets have the same labels."""

    support_labels: Tensor
    query_labels: Tensor
    way: int
    l2: float

    def state(self, inner: Inner, embed: Callable[[Tree], Tree] | None = None) -> tuple[Problem, Dynamics]:
        """Stated in z = {"support", "query", outer variables of the dynamics}."""
        loss = partial(softmax_heads.inner_objective, support_labels=self.support_labels, l2=self.l2)
        outer = partial(softmax_heads.outer_objective, query_labels=self.query_labels)
        init = partial(softmax_heads.init, way=self.way)
        return Problem(loss, outer, init, embed=embed), inner.dynamics(full_batch(loss), init)

    def dual_walk(self, inner: Inner) -> Method:
        """Algorithm 1 in the span of the support features; only right where `inner` is plain gradient descent."""
        return partial(
            softmax_heads.dual_walk,
            support_labels=self.support_labels,
            query_labels=self.query_labels,
            way=self.way,
            rate=inner.rate,
            l2=self.l2,
        )

    def score(self, w: Tree, query: Tensor) -> tuple[Tensor, Tensor]:
        """Accuracy [B] and mean cross-entropy [B] of the query sets, whose features are [B, q, F]."""
        scores = softmax_heads.scores(w, query)  # [B, q, way]
        labels = self.query_labels.expand(scores.shape[:2])
        loss = functional.cross_entropy(scores.mT, labels, reduction="none").mean(-1)
        return (scores.argmax(-1) == labels).double().mean(-1), loss.double()


def heads(problem: spec.HyperRepresentation, context: Context) -> Heads:
    """The labels of every episode: examples are ordered by class."""
    labels = torch.arange(problem.way, device=context.device)
    return Heads(
        labels.repeat_interleave(problem.shot), labels.repeat_interleave(problem.query), problem.way, problem.l2
    )


@dataclass(frozen=True)
class FewShot:
    """Episodes, the network that makes features of them, and the heads that are fitted on these."""

    problem: spec.HyperRepresentation
    model: Representation
    inner: Inner
    context: Context
    images: ClassImages
    heads: Heads
    groups: ClassGroups | None = None
    """Which classes can meet in a task; None: all of a meta-set."""

    def sample(self, part: str, count: int, *index: str | int) -> Episodes:
        """Episodes of a meta-set that are a function of the seed and the index."""
        problem, images = self.problem, getattr(self.images, part)
        return sample_episodes(
            images,
            way=problem.way,
            shot=problem.shot,
            query=problem.query,
            count=count,
            generator=stream(self.context.seed, *index),
            dtype=self.context.dtype,
            groups=None if self.groups is None else getattr(self.groups, part),
            way_from=problem.way_from,
        )

    def heads_of(self, episodes: Episodes) -> Heads | RaggedHeads:
        """The inner problem of these tasks."""
        return self.heads if episodes.ways is None else ragged(self.problem, episodes.ways)

    def at(self, k: int) -> tuple[Problem, Dynamics]:
        """The meta-batch of hyperiteration k."""
        episodes = self.sample("train", self.problem.meta_batch, "episodes", k)
        data: dict[str, Tree] = {"support": episodes.support, "query": episodes.query}
        if episodes.ways is not None:
            data["ways"] = episodes.ways

        def state(data: Tree) -> tuple[Problem, Dynamics]:
            some = episodes._replace(**cast("dict[str, Tensor]", data))
            return self.heads_of(some).state(self.inner, lambda lam: self.embed(lam, some, self.batch_features))

        problem, dynamics = state(data)
        return replace(problem, tasks=Tasks(data, state, self.problem.task_chunk)), dynamics

    def embed(self, lam: Tree, episodes: Episodes, features: Features) -> Tree:
        """z: the features of the support and query sets, and the outer variables of the dynamics.

        All images go through the network together.
        """
        parts = (episodes.support, episodes.query)  # [B, n, ...] each
        images = torch.cat([part.flatten(0, 1) for part in parts])
        (tasks, shots), (_, queries) = counts = [(len(part), part.shape[1]) for part in parts]
        present = None if episodes.ways is None else ragged(self.problem, episodes.ways).present()
        sets = image_sets(*counts, device=images.device, dtype=self.context.dtype, present=present)
        found = features(lam, images, sets)
        support, query = torch.split(found, [tasks * shots, tasks * queries])
        z: dict[str, Tree] = {"support": support.view(tasks, shots, -1), "query": query.view(tasks, queries, -1)}
        return {**z, **self.inner.carried(lam)}

    def batch_features(self, lam: Tree, images: Tensor, sets: ImageSets) -> Tensor:
        """With the statistics of each support or query set itself."""
        return self.model.apply(*self.in_format(lam, images), sets).to(self.context.dtype)

    def in_format(self, lam: Tree, images: Tensor) -> tuple[Tree, Tensor]:
        """The network's parameters and images for its passes, which may be in a shorter format than all else."""
        dtype = self.context.network or self.context.dtype
        return trees.map_leaves(lambda leaf: leaf.to(dtype), network(lam)), images.to(dtype)

    def running_features(self, lam: Tree) -> Features | None:
        """With the statistics of meta-training images; None where the network has no norms."""
        flat, count = self.images.train.flatten(0, 1), population(self.problem.dataset)
        drawn = torch.randint(len(flat), (count,), generator=stream(self.context.seed, "population"))
        sample = flat[drawn.to(flat.device)].to(self.context.dtype).div_(255)
        statistics = self.model.statistics(*self.in_format(lam, sample))
        if not trees.leaves(statistics):
            return None

        def features(lam: Tree, images: Tensor, sets: ImageSets) -> Tensor:
            return self.model.apply_with(*self.in_format(lam, images), statistics).to(self.context.dtype)

        return features

    @torch.no_grad()
    def evaluate(self, lam: Tree, w: "Tree | None" = None) -> Evaluation:
        """On the same episodes at every call, with heads fitted to each: heads of other tasks are of no use."""
        modes: dict[str, Features] = {"batch": self.batch_features}
        if (running := self.running_features(lam)) is not None:
            modes["running"] = running
        return Evaluation(self.score(lam, "validation", modes), self.score(lam, "test", modes))

    def score(self, lam: Tree, part: str, modes: Mapping[str, Features]) -> Metrics:
        """Metrics over the episodes of a meta-set; a network without norms has one accuracy under both names."""
        scores: dict[str, list[tuple[Tensor, Tensor]]] = {mode: [] for mode in modes}
        for episodes in self.chunks(part):
            for mode, features in modes.items():
                scores[mode].append(self.fit_and_score(self.heads_of(episodes), self.embed(lam, episodes, features)))
        found = {
            mode: [metric(torch.cat(values), "episodes") for values in zip(*parts, strict=True)]
            for mode, parts in scores.items()
        }
        accuracy, loss = found.get(self.problem.normalization, found["batch"])
        return {
            "accuracy": accuracy,
            "loss": loss,
            "accuracy_batch_statistics": found["batch"][0],
            "accuracy_running_statistics": found.get("running", found["batch"])[0],
        }

    def chunks(self, part: str) -> Iterator[Episodes]:
        """The episodes of an evaluation, a bounded number of images at a time."""
        problem = self.problem
        size = max(1, images_at_once(problem.dataset) // (problem.way * (problem.shot + problem.query)))
        for first in range(0, self.context.episodes, size):
            drawn = self.sample(part, min(size, self.context.episodes - first), part, first)
            yield from drawn.split(problem.task_chunk or size)

    def fit_and_score(self, heads: Heads | RaggedHeads, z: Tree) -> tuple[Tensor, Tensor]:
        """Fits the heads on the support sets for T steps: accuracy [B] and mean cross-entropy [B] of the query sets."""
        return heads.score(self.inner.solve(*heads.state(self.inner), z), entry(z, "query"))


def hyper_representation(
    problem: spec.HyperRepresentation, model: Representation, inner: Inner, context: Context
) -> Instance:
    """Metrics over episodes: accuracy and loss, and the accuracy with either kind of statistics in the norms."""
    loaded = load_class_images(problem.dataset, seed=context.seed, data_dir=context.data_dir)
    placed = ClassImages(*(part.to(context.device) for part in loaded.images))
    few_shot = FewShot(problem, model, inner, context, placed, heads(problem, context), loaded.groups)
    start = model.init(stream(context.seed, "initialization"))
    return Instance(
        initial=context.place({"representation": start, **inner.initial()}),
        at=few_shot.at,
        evaluate=few_shot.evaluate,
        selection=HIGHEST_ACCURACY,
        natural=inner.natural,
    )


def network(lam: Tree) -> Tree:
    """The parameters of the representation."""
    return cast("Mapping[str, Tree]", lam)["representation"]
