"""What few-shot problems share: features of the images of episodes, and how good heads on these are for new classes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from core.bilevel import trees
from core.bilevel.problem import Tree
from core.bilevel.randomness import stream
from core.datasets.episodes import Episodes, sample_episodes
from core.datasets.omniglot import ClassImages
from core.models.image_sets import ImageSets, image_sets
from core.models.model import Representation
from core.problems.heads import Heads
from core.problems.inner import Inner
from core.problems.instance import Context, Evaluation, Metrics, metric
from core.spec import problems as spec
from core.spec.multiclass_transfer import MulticlassTransfer

POPULATION = 2000
"""Meta-training images whose statistics stand for those of all, for the normalization `running`."""
IMAGES_AT_ONCE = 1280
"""Images that an evaluation sends through the network together."""

Features = Callable[[Tree, Tensor, ImageSets], Tensor]
"""(lam, images [N, ...], the sets that they are of) -> features [N, F]."""


@dataclass(frozen=True)
class Network:
    """The network that makes features of images, with either kind of statistics in its norms."""

    model: Representation
    context: Context

    def batch(self, lam: Tree, images: Tensor, sets: ImageSets) -> Tensor:
        """With the statistics of each set of images itself."""
        return self.model.apply(*self.in_format(lam, images), sets).to(self.context.dtype)

    def running(self, lam: Tree, images: Tensor) -> Features | None:
        """With the statistics of meta-training images u8 [classes, images a class, ...]; None if there are no norms."""
        flat = images.flatten(0, 1)
        drawn = torch.randint(len(flat), (POPULATION,), generator=stream(self.context.seed, "population"))
        population = flat[drawn.to(flat.device)].to(self.context.dtype).div_(255)
        statistics = self.model.statistics(*self.in_format(lam, population))
        if not trees.leaves(statistics):
            return None

        def features(lam: Tree, images: Tensor, sets: ImageSets) -> Tensor:
            return self.model.apply_with(*self.in_format(lam, images), statistics).to(self.context.dtype)

        return features

    def in_format(self, lam: Tree, images: Tensor) -> tuple[Tree, Tensor]:
        """The network's parameters and images for its passes, which may be in a shorter format than all else."""
        dtype = self.context.network or self.context.dtype
        return trees.map_leaves(lambda leaf: leaf.to(dtype), network(lam)), images.to(dtype)

    def embed(self, lam: Tree, sets: Mapping[str, Tensor], features: Features) -> dict[str, Tree]:
        """Features [tasks, examples, F] of sets [tasks, examples, ...]; all images go through the network together."""
        images = torch.cat([part.flatten(0, 1) for part in sets.values()])
        counts = [(len(part), part.shape[1]) for part in sets.values()]
        found = features(lam, images, image_sets(*counts, device=images.device, dtype=self.context.dtype))
        pieces = torch.split(found, [tasks * size for tasks, size in counts])
        return {name: piece.view(*count, -1) for name, piece, count in zip(sets, pieces, counts, strict=True)}


def network(lam: Tree) -> Tree:
    """The parameters of the network."""
    return cast("Mapping[str, Tree]", lam)["representation"]


@dataclass(frozen=True)
class Scoring:
    """How good lam is: heads fitted on the support sets of episodes of unseen classes, judged on their query sets."""

    problem: spec.HyperRepresentation | MulticlassTransfer
    network: Network
    inner: Inner
    context: Context
    images: ClassImages
    heads: Heads
    """With the labels of an evaluation's sets."""
    together: int | None = None
    """Episodes that go through the network together; None: as many as `IMAGES_AT_ONCE` allows."""

    @torch.no_grad()
    def evaluate(self, lam: Tree, w: "Tree | None" = None) -> Evaluation:
        """On the same episodes at every call, with heads fitted to each: heads of other tasks are of no use."""
        modes: dict[str, Features] = {"batch": self.network.batch}
        if (running := self.network.running(lam, self.images.train)) is not None:
            modes["running"] = running
        validation, test = self.images.validation, self.images.test
        return Evaluation(self.score(lam, validation, "validation", modes), self.score(lam, test, "test", modes))

    def score(self, lam: Tree, images: Tensor, part: str, modes: Mapping[str, Features]) -> Metrics:
        """Metrics over the episodes of a meta-set; a network without norms has one accuracy under both names."""
        scores: dict[str, list[tuple[Tensor, Tensor]]] = {mode: [] for mode in modes}
        for episodes in self.chunks(images, part):
            sets = {"support": episodes.support, "query": episodes.query}
            for mode, features in modes.items():
                z = {**self.network.embed(lam, sets, features), **self.inner.carried(lam), **self.heads.carried(lam)}
                scores[mode].append(self.fit_and_score(z))
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

    def chunks(self, images: Tensor, part: str) -> Iterator[Episodes]:
        """The episodes of an evaluation, a bounded number of images at a time."""
        problem = self.problem
        size = max(1, IMAGES_AT_ONCE // (problem.way * (problem.shot + problem.query)))
        for first in range(0, self.context.episodes, size):
            drawn = sample_episodes(
                images,
                way=problem.way,
                shot=problem.shot,
                query=problem.query,
                count=min(size, self.context.episodes - first),
                generator=stream(self.context.seed, part, first),
                dtype=self.context.dtype,
            )
            together = self.together or size
            for support, query in zip(*(torch.split(part, together) for part in drawn[:2]), strict=True):
                yield drawn._replace(support=support, query=query)

    def fit_and_score(self, z: Tree) -> tuple[Tensor, Tensor]:
        """Fits the heads on the support sets: accuracy [B] and mean cross-entropy [B] of the query sets."""
        w = self.inner.solve(*self.heads.state(self.inner), z)
        scores = self.heads.functions().scores(w, z)  # [B, q, way]
        labels = self.heads.query_labels.expand(scores.shape[:2])
        loss = functional.cross_entropy(scores.mT, labels, reduction="none").mean(-1)
        return (scores.argmax(-1) == labels).double().mean(-1), loss.double()
