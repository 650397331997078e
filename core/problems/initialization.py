"""Learned initializations for few-shot learning: MAML (Finn, Abbeel and Levine 2017) and its family.

lam is the parameters of a network and its linear head; w is a copy of them for each task, from w_0 = lam. L sums over
tasks the mean cross-entropy of the support set, + proximal/2 ||w - w_0||^2; E averages that of the query set.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from core.bilevel import softmax_heads, trees
from core.bilevel.dynamics import full_batch
from core.bilevel.problem import Dynamics, Problem, Tasks, Tree
from core.bilevel.randomness import stream
from core.models.copies import initial_head, scores, scores_by_support
from core.models.image_sets import image_sets
from core.models.model import Representation
from core.problems.inner import Inner, entry
from core.problems.instance import HIGHEST_ACCURACY, Context, Evaluation, Instance, Metrics, metric
from core.problems.sampling import MetaSet, Sampling, sampling
from core.spec import problems as spec
from core.spec.sizes import evaluation_sets, features

Scores = Callable[[Tree, Tree], Tensor]
"""(w, z) -> scores [B, n, way] of a set of each task."""


@dataclass(frozen=True)
class Adaptation:
    """Episodes, and what the inner steps move on each of them, from where."""

    problem: spec.Initialization
    model: Representation
    inner: Inner
    context: Context
    sampling: Sampling
    labels: dict[str, Tensor]
    """Of a support set and a query set; those of all tasks are the same."""

    def at(self, k: int) -> tuple[Problem, Dynamics]:
        """The meta-batch of hyperiteration k."""
        sets = evaluation_sets(self.problem)  # those of meta-training are no others
        images: Tree = {**self.sampling.episodes("train", sets, self.problem.meta_batch, "episodes", k).sets()}
        problem, dynamics = self.state(images)
        return replace(problem, tasks=Tasks(images, self.state, self.problem.task_chunk)), dynamics

    def state(self, images: Tree) -> tuple[Problem, Dynamics]:
        """The problem of these tasks: in lam, or in z = embed(lam) where the network does not move."""
        support, query = (self.scores(images, part) for part in ("support", "query"))
        tasks = len(entry(images, "support"))

        def init(z: Tree) -> Tree:
            return self.start(z, tasks)

        def inner(w: Tree, z: Tree) -> Tensor:
            loss = tasks * cross_entropy(support(w, z), self.labels["support"]).mean()
            if self.problem.proximal == 0:
                return loss
            way = trees.subtract(w, init(z))
            return loss + self.problem.proximal / 2 * trees.dot(way, way)

        def outer(w: Tree, z: Tree) -> Tensor:
            return cross_entropy(query(w, z), self.labels["query"]).mean()

        embed = None if self.problem.adapt == "all" else lambda lam: self.embed(lam, images)
        return Problem(inner, outer, init, embed=embed), self.inner.dynamics(full_batch(inner), init)

    def scores(self, images: Tree, part: str) -> Scores:
        """Of the support or query sets, by a copy of the network a task or by a head a task on its features."""
        if self.problem.adapt == "all":
            return lambda w, lam: scores(self.model, w, entry(images, part))
        return lambda w, z: softmax_heads.scores(entry(w, "head"), entry(z, part))

    def start(self, z: Tree, tasks: int) -> dict[str, Tree]:
        """w_0: the same for each task."""
        moved: dict[str, Tree] = {**self.zero_head(), **cast("dict[str, Any]", entry(z, "initialization"))}
        copies: dict[str, Tree] = trees.map_leaves(lambda leaf: leaf.expand(tasks, *leaf.shape).clone(), moved)
        return copies

    def zero_head(self) -> dict[str, Tree]:
        """The head's w_0 where it is not learned."""
        if self.problem.head_start == "learned":
            return {}
        size = (features(self.problem) + 1, self.problem.way)
        return {"head": torch.zeros(size, dtype=self.context.dtype, device=self.context.device)}

    def embed(self, lam: Tree, images: Tree) -> Tree:
        """z: the features of all sets, the head's w_0 and the outer variables of the dynamics."""
        parts = [entry(images, part) for part in ("support", "query")]
        counts = [(len(part), part.shape[1]) for part in parts]
        sets = image_sets(*counts, device=self.context.device, dtype=self.context.dtype)
        learned: dict[str, Tree] = dict(cast("dict[str, Any]", entry(lam, "initialization")))
        found = self.model.apply(learned.pop("representation"), torch.cat([part.flatten(0, 1) for part in parts]), sets)
        split = torch.split(found, [tasks * size for tasks, size in counts])
        support, query = (x.view(*count, -1) for x, count in zip(split, counts, strict=True))
        rates = {"rates": entry(lam, "rates")} if self.inner.parameter_rate is not None else {}
        return {"support": support, "query": query, "initialization": learned, **rates, **self.inner.carried(lam)}

    def initial(self) -> dict[str, Tree]:
        """lam at hyperiteration 0."""
        dtype, seed, problem = self.context.dtype, self.context.seed, self.problem
        learned: dict[str, Tree] = {"representation": self.model.init(stream(seed, "initialization"))}
        if problem.head_start == "learned":
            learned["head"] = initial_head(features(problem), problem.way, stream(seed, "head"), dtype)
        lam: dict[str, Tree] = self.context.place({"initialization": learned, **self.inner.initial()})
        if (rate := self.inner.parameter_rate) is not None:
            moved: dict[str, Tree] = {**self.zero_head(), **cast("dict[str, Any]", lam["initialization"])}
            names = ("representation", "head") if problem.adapt == "all" else ("head",)
            lam["rates"] = trees.map_leaves(lambda x: torch.full_like(x, rate), {name: moved[name] for name in names})
        return lam

    def natural(self, lam: Tree) -> dict[str, Tensor]:
        """The outer variables of the dynamics in natural units; of rates by parameter the mean of each layer."""
        found = self.inner.natural(lam)
        if self.inner.parameter_rate is None:
            return found
        rates = cast("dict[str, Any]", entry(lam, "rates"))
        network = rates.get("representation", [])
        layers = [*(network.items() if isinstance(network, dict) else enumerate(network)), ("head", rates["head"])]
        return found | {f"rate/{name}": trees.ravel(layer)[0].mean() for name, layer in layers}

    @torch.no_grad()
    def evaluate(self, lam: Tree, w: "Tree | None" = None) -> Evaluation:
        """On the same episodes at every call, with T inner steps on each: w is of other tasks, and of no use."""
        return Evaluation(self.score(lam, "validation"), self.score(lam, "test"))

    def score(self, lam: Tree, part: MetaSet) -> Metrics:
        """Metrics over the episodes of a meta-set; a network without norms has one accuracy under all names."""
        chunks = self.sampling.evaluation(part, self.problem.task_chunk)
        found = [self.fit_and_score(lam, {**episodes.sets()}) for episodes in chunks]
        accuracy, loss, by_support = (metric(torch.cat(values), "episodes") for values in zip(*found, strict=True))
        return {
            "accuracy": accuracy,
            "loss": loss,
            "accuracy_batch_statistics": accuracy,
            "accuracy_support_statistics": by_support,
        }

    def fit_and_score(self, lam: Tree, images: Tree) -> tuple[Tensor, Tensor, Tensor]:
        """Of the query sets after T inner steps: accuracy, mean cross-entropy, accuracy by support statistics [B]."""
        problem, dynamics = self.state(images)
        z = lam if problem.embed is None else problem.embed(lam)
        w = self.inner.solve(problem, dynamics, z)
        labels, found = self.labels["query"], self.scores(images, "query")(w, z)
        support, query = entry(images, "support"), entry(images, "query")
        copies = {**self.start(lam, len(query)), **cast("dict[str, Any]", w)}
        by_support = scores_by_support(self.model, copies, support, query)
        right, right_by_support = ((s.argmax(-1) == labels).double().mean(-1) for s in (found, by_support))
        return right, cross_entropy(found, labels).mean(-1).double(), right_by_support


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """[B, n] of scores [B, n, way] for labels [n]."""
    flat = functional.cross_entropy(scores.flatten(0, 1), labels.repeat(len(scores)), reduction="none")
    return flat.view(scores.shape[:2])


def initialization(problem: spec.Initialization, model: Representation, inner: Inner, context: Context) -> Instance:
    """Metrics over episodes: accuracy and loss, and the accuracy with the support set's statistics in the norms."""
    classes = torch.arange(problem.way, device=context.device)
    labels = {part: classes.repeat_interleave(getattr(problem, size)) for part, size in SIZES.items()}
    adaptation = Adaptation(problem, model, inner, context, sampling(problem, context), labels)
    return Instance(
        initial=adaptation.initial(),
        at=adaptation.at,
        evaluate=adaptation.evaluate,
        selection=HIGHEST_ACCURACY,
        natural=adaptation.natural,
    )


SIZES = {"support": "shot", "query": "query"}
"""Field of the spec that says how many examples a class has in each set."""
