"""What few-shot problems share: features of the images of episodes, and how good heads on these are for new classes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.problem import Tree
from core.bilevel.randomness import stream
from core.datasets.episodes import Episodes
from core.models.image_sets import ImageSets, image_sets, one_set
from core.models.model import Representation
from core.problems.heads import Heads
from core.problems.inner import Inner
from core.problems.instance import Context, Evaluation, Metrics, metric
from core.problems.sampling import MetaSet, Sampling, at_a_time
from core.spec import problems as spec
from core.spec.datasets import ClassesOfImages
from core.spec.images import images_at_once, population
from core.spec.multiclass_transfer import MulticlassTransfer
from core.spec.sizes import evaluation_sets

Features = Callable[[Tree, Tensor, ImageSets], Tensor]
"""(lam, images [N, ...], the sets that they are of) -> features [N, F]."""


@dataclass(frozen=True)
class Network:
    """The network that makes features of images, with either kind of statistics in its norms."""

    model: Representation
    context: Context
    centred: bool = False
    """Whether the mean of their set is taken from features."""

    def batch(self, lam: Tree, images: Tensor, sets: ImageSets) -> Tensor:
        """With the statistics of each set of images itself."""
        return self.model.apply(*self.in_format(lam, images), sets).to(self.context.dtype)

    def running(self, lam: Tree, images: Tensor, dataset: ClassesOfImages) -> Features | None:
        """With the statistics of meta-training images u8 [classes, images a class, ...]; None if there are no norms."""
        some = representative(images, dataset, self.context.seed, self.context)
        statistics = self.model.statistics(*self.in_format(lam, some))
        if not trees.leaves(statistics):
            return None

        def features(lam: Tree, images: Tensor, sets: ImageSets) -> Tensor:
            return self.model.apply_with(*self.in_format(lam, images), statistics).to(self.context.dtype)

        return features

    def in_format(self, lam: Tree, images: Tensor) -> tuple[Tree, Tensor]:
        """The network's parameters and images for its passes, which may be in a shorter format than all else."""
        dtype = self.context.network or self.context.dtype
        return trees.map_leaves(lambda leaf: leaf.to(dtype), network(lam)), images.to(dtype)

    def embed(
        self, lam: Tree, sets: Mapping[str, Tensor], features: Features, present: Tensor | None = None
    ) -> dict[str, Tree]:
        """Features [tasks, examples, F] of sets [tasks, examples, ...]; all images go through the network together.

        `present` says which of them, one set behind the other, do not only pad a set; None: all.
        """
        images = torch.cat([part.flatten(0, 1) for part in sets.values()])
        counts = [(len(part), part.shape[1]) for part in sets.values()]
        grouped = image_sets(*counts, device=images.device, dtype=self.context.dtype, present=present)
        found = features(lam, images, grouped)
        if self.centred:
            found = found - grouped.member @ (grouped.average @ found)
        pieces = torch.split(found, [tasks * size for tasks, size in counts])
        return {name: piece.view(*count, -1) for name, piece, count in zip(sets, pieces, counts, strict=True)}


def as_they_are(lam: Tree, images: Tensor, sets: ImageSets) -> Tensor:
    """Where features stand for the images."""
    return images


def averaged(features: Features) -> Features:
    """The mean of what an image and its mirror image give."""

    def both(lam: Tree, images: Tensor, sets: ImageSets) -> Tensor:
        return (features(lam, images, sets) + features(lam, images.flip(-1), sets)) / 2

    return both


def representative(images: Tensor, dataset: ClassesOfImages, seed: int, context: Context) -> Tensor:
    """The meta-training images whose statistics stand for those of all, drawn by the seed; on the device."""
    flat = images.flatten(0, 1)
    drawn = torch.randint(len(flat), (population(dataset),), generator=stream(seed, "population"))
    return flat[drawn.to(flat.device)].to(context.device, context.dtype).div_(255)


def network(lam: Tree) -> Tree:
    """The parameters of the network."""
    return cast("Mapping[str, Tree]", lam)["representation"]


@dataclass(frozen=True)
class Scoring:
    """How good lam is: heads fitted on the support sets of episodes of unseen classes, judged on their query sets."""

    problem: spec.HyperRepresentation | MulticlassTransfer
    network: Network
    inner: Inner
    sampling: Sampling
    heads: Heads
    """With the labels of an evaluation's sets."""
    together: int | None = None
    """Episodes that go through the network together; None: as many as `images_at_once` allows."""
    average_reflections: bool = False
    """Whether features are the mean of those of an image and its mirror image."""

    @torch.no_grad()
    def evaluate(self, lam: Tree, w: "Tree | None" = None) -> Evaluation:
        """On the same episodes at every call, with heads fitted to each: heads of other tasks are of no use."""
        modes: dict[str, Features] = {"batch": self.network.batch}
        images = self.sampling.loaded.images.train
        if (running := self.network.running(lam, images, self.problem.dataset)) is not None:
            modes["running"] = running
        if self.average_reflections:
            modes = {mode: averaged(features) for mode, features in modes.items()}
        return Evaluation(self.score(lam, "validation", modes), self.score(lam, "test", modes))

    def score(self, lam: Tree, part: MetaSet, modes: Mapping[str, Features]) -> Metrics:
        """Metrics over the episodes of a meta-set; a network without norms has one accuracy under both names."""
        found = {}
        for mode, features in modes.items():
            if mode == "running" and self.repeats(part):
                made = self.of_all(lam, part, features)
                episodes, features = self.sampling.evaluation(part, self.together, made), as_they_are
            else:
                episodes = self.sampling.evaluation(part, self.together)
            scores = [self.fit_and_score(lam, some, features) for some in episodes]
            found[mode] = [metric(torch.cat(values), "episodes") for values in zip(*scores, strict=True)]
        accuracy, loss = found.get(self.problem.normalization, found["batch"])
        return {
            "accuracy": accuracy,
            "loss": loss,
            "accuracy_batch_statistics": found["batch"][0],
            "accuracy_running_statistics": found.get("running", found["batch"])[0],
        }

    def repeats(self, part: MetaSet) -> bool:
        """Whether the episodes show the images of the meta-set more than once, on average."""
        classes, images = self.sampling.images(part).shape[:2]
        sets = evaluation_sets(self.problem)
        return classes * images < self.network.context.episodes * sets.way * (sets.shot + sets.query)

    def of_all(self, lam: Tree, part: MetaSet, features: Features) -> Tensor:
        """The features [classes, images a class, d] of a meta-set, where those of an image do not depend on others."""
        images, context = self.sampling.images(part), self.network.context
        made = []
        sets = evaluation_sets(self.problem)
        allowed = images_at_once(self.problem.dataset) * at_a_time(context.device)
        together = allowed if self.together is None else self.together * sets.way * (sets.shot + sets.query)
        for some in torch.split(images.flatten(0, 1), min(together, allowed)):
            pixels = some.to(context.device, context.dtype).div_(255)
            made.append(features(lam, pixels, one_set(pixels)))
        return torch.cat(made).view(*images.shape[:2], -1)

    def fit_and_score(self, lam: Tree, episodes: Episodes, features: Features) -> tuple[Tensor, Tensor]:
        """Fits the heads on the support sets: accuracy [B] and mean cross-entropy [B] of the query sets."""
        heads, sets = self.heads.of(episodes.ways), episodes.sets()
        z: Tree = {
            **self.network.embed(lam, sets, features, heads.present(sets)),
            **self.inner.carried(lam),
            **self.heads.carried(lam),
        }
        return heads.score(heads.fit(self.inner, z), z)
