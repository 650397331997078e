"""Hyper-representation for few-shot learning, equations (9)-(10) and Algorithm 1 of the paper.

The representation h_lam is outer; a linear softmax head a task is inner, from w_0 = 0. With z = h_lam of all images of
the meta-batch, L sums over tasks the mean cross-entropy of the support set and E averages that of the query set.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional

from core.bilevel import softmax_heads, trees
from core.bilevel.dynamics import full_batch
from core.bilevel.problem import Dynamics, Method, Problem, Tree
from core.bilevel.randomness import stream
from core.datasets.episodes import Episodes, sample_episodes
from core.datasets.omniglot import load_omniglot
from core.models.model import Representation
from core.problems.inner import Inner, entry
from core.problems.instance import HIGHEST_ACCURACY, Context, Evaluation, Instance, Metrics, metric
from core.spec import problems as spec

POPULATION = 2000
"""Meta-training images whose statistics stand for those of all, for the normalization `running`."""
IMAGES_AT_ONCE = 1280
"""Images that an evaluation sends through the network together."""

Features = Callable[[Tree, Tensor], Tensor]
"""(lam, images [B, n, ...]) -> features [B, n, F]."""


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


def heads(problem: spec.HyperRepresentation, context: Context) -> Heads:
    """The labels of every episode: examples are ordered by class."""
    labels = torch.arange(problem.way, device=context.device)
    return Heads(
        labels.repeat_interleave(problem.shot), labels.repeat_interleave(problem.query), problem.way, problem.l2
    )


def hyper_representation(
    problem: spec.HyperRepresentation, model: Representation, inner: Inner, context: Context
) -> Instance:
    """Metrics over episodes: accuracy and loss, and the accuracy with either kind of statistics in the norms."""
    train, validation, test = (
        images.to(context.device)
        for images in load_omniglot(problem.dataset, seed=context.seed, data_dir=context.data_dir)
    )
    fitted = heads(problem, context)
    sample = partial(sample_episodes, way=problem.way, shot=problem.shot, query=problem.query, dtype=context.dtype)

    def embed(lam: Tree, episodes: Episodes, features: Features) -> Tree:
        return {
            "support": features(lam, episodes.support),
            "query": features(lam, episodes.query),
            **inner.carried(lam),
        }

    def batch_features(lam: Tree, images: Tensor) -> Tensor:
        return model.apply(network(lam), images)

    def at(k: int) -> tuple[Problem, Dynamics]:
        episodes = sample(train, count=problem.meta_batch, generator=stream(context.seed, "episodes", k))
        return fitted.state(inner, lambda lam: embed(lam, episodes, batch_features))

    flat = train.flatten(0, 1)
    drawn = torch.randint(len(flat), (POPULATION,), generator=stream(context.seed, "population"))
    population = flat[drawn.to(flat.device)].to(context.dtype).div_(255)

    def running_features(lam: Tree) -> Features | None:
        """With the statistics of the population; None where the network has no norms."""
        statistics = model.statistics(network(lam), population)
        if not trees.leaves(statistics):
            return None
        return lambda lam, images: model.apply_with(network(lam), images, statistics)

    def chunks(images: Tensor, part: str) -> Iterator[Episodes]:
        """The same episodes at every evaluation, a bounded number of images at a time."""
        size = max(1, IMAGES_AT_ONCE // (problem.way * (problem.shot + problem.query)))
        for first in range(0, context.episodes, size):
            count = min(size, context.episodes - first)
            yield sample(images, count=count, generator=stream(context.seed, part, first))

    def score(lam: Tree, images: Tensor, part: str, running: Features | None) -> Metrics:
        modes = {"batch": batch_features, **({"running": running} if running else {})}
        scores: dict[str, list[tuple[Tensor, Tensor]]] = {mode: [] for mode in modes}
        for episodes in chunks(images, part):
            for mode, features in modes.items():
                scores[mode].append(predict_and_score(fitted, inner, embed(lam, episodes, features)))
        accuracy, loss = {}, {}
        for mode, parts in scores.items():
            accuracy[mode], loss[mode] = (metric(torch.cat(values), "episodes") for values in zip(*parts, strict=True))
        chosen = problem.normalization if running else "batch"
        return {
            "accuracy": accuracy[chosen],
            "loss": loss[chosen],
            "accuracy_batch_statistics": accuracy["batch"],
            "accuracy_running_statistics": accuracy["running" if running else "batch"],
        }

    @torch.no_grad()
    def evaluate(lam: Tree) -> Evaluation:
        running = running_features(lam)
        return Evaluation(score(lam, validation, "validation", running), score(lam, test, "test", running))

    return Instance(
        initial=context.place(
            {"representation": model.init(stream(context.seed, "initialization")), **inner.initial()}
        ),
        at=at,
        evaluate=evaluate,
        selection=HIGHEST_ACCURACY,
        natural=inner.natural,
    )


def network(lam: Tree) -> Tree:
    """The parameters of the representation."""
    return cast("Mapping[str, Tree]", lam)["representation"]


def predict_and_score(fitted: Heads, inner: Inner, z: Tree) -> tuple[Tensor, Tensor]:
    """Fits the heads on the support sets for T steps: accuracy [B] and mean cross-entropy [B] on the query sets."""
    w: Any = inner.solve(*fitted.state(inner), z)
    query = entry(z, "query")
    scores = torch.baddbmm(w[:, -1:], query, w[:, :-1])  # [B, q, way]
    labels = fitted.query_labels.expand(scores.shape[:2])
    loss = functional.cross_entropy(scores.mT, labels, reduction="none").mean(-1)
    return (scores.argmax(-1) == labels).double().mean(-1), loss.double()
