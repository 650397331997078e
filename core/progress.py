"""How far an experiment has come: everything that a checkpoint has to hold."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.problem import Algorithm, AlgorithmState, Tree
from core.checkpointing import Checkpoint, pack, unpack
from core.errors import CheckpointInvalid
from core.problems.instance import Instance, plain
from core.spec import Experiment
from core.thresholds import Memory, Seen

OUTCOMES = "outcomes/"
"""In a checkpoint, before the names of what the best metrics are means of."""
Plain = Mapping[str, Mapping[str, float | int]]
"""Metric -> {"mean", "ci95", "examples" or "episodes"}."""


class Scores(NamedTuple):
    """An evaluation as plain data."""

    hyperiteration: int
    validation: Plain
    test: Plain

    def points(self) -> dict[str, float]:
        """The means as points of series."""
        return {
            f"{part}/{name}": float(values["mean"])
            for part, metrics in (("validation", self.validation), ("test", self.test))
            for name, values in metrics.items()
        }


class Best(NamedTuple):
    """The evaluation with the best validation metric so far."""

    scores: Scores
    lam: Tree
    outcomes: Mapping[str, Tensor]
    """What its metrics are means of."""


@dataclass(frozen=True)
class Spent:
    """Seconds, of all attempts that the checkpoints link."""

    setup: float = 0.0
    hyperiterations: float = 0.0
    evaluations: float = 0.0


@dataclass(frozen=True)
class Progress:
    """The state before a hyperiteration."""

    hyperiteration: int
    state: AlgorithmState
    best: Best | None = None
    seconds: Spent = field(default_factory=Spent)
    diagnostics: Memory = field(default_factory=dict)
    """What is remembered of the watched series."""

    def spent(self, *, setup: float = 0.0, hyperiterations: float = 0.0, evaluations: float = 0.0) -> "Progress":
        """Adds seconds."""
        before = self.seconds
        return replace(
            self,
            seconds=Spent(
                before.setup + setup, before.hyperiterations + hyperiterations, before.evaluations + evaluations
            ),
        )

    def seen(self, diagnostics: Memory) -> "Progress":
        """Takes what is remembered of the watched series up to this hyperiteration."""
        return replace(self, diagnostics=diagnostics)

    def advance(self, state: AlgorithmState) -> "Progress":
        """The hyperiteration is done."""
        return replace(self, hyperiteration=self.hyperiteration + 1, state=state)

    def evaluate(self, instance: Instance, algorithm: Algorithm) -> tuple["Progress", Scores]:
        """Evaluates lam, which becomes the best so far if it is; only the validation metric has a say."""
        started = time.perf_counter()
        kept = () if algorithm.inner is None else (algorithm.inner(self.state),)
        lam = self.state.lam if algorithm.outer is None else algorithm.outer(self.state)
        found = instance.evaluate(lam, *kept)
        scores = Scores(self.hyperiteration, plain(found.validation), plain(found.test))
        name = instance.selection.metric
        before = float(self.best.scores.validation[name]["mean"]) if self.best else None
        better = instance.selection.improves(found.validation[name].mean, before)
        best = Best(scores, lam, found.outcomes()) if better else self.best
        return replace(self, best=best).spent(evaluations=time.perf_counter() - started), scores

    def has_waited(self, spec: Experiment) -> bool:
        """Whether as many evaluations as the patience have come after the best one, this one among them."""
        patience = spec.evaluation.patience
        if patience is None or self.best is None:
            return False
        return self.hyperiteration - self.best.scores.hyperiteration >= patience * spec.evaluated_every

    def best_lam(self) -> Tree:
        """The best outer variables so far; those at hand before the first evaluation."""
        return self.best.lam if self.best else self.state.lam

    def checkpoint(self, spec: Experiment) -> Checkpoint:
        """Packs it; the inverse of `restore`."""
        parts: dict[str, Tree] = {"state": self.state}
        if self.best:
            parts["best"] = self.best.lam
        named = trees.named_leaves(parts)
        # Cloned, as the file format refuses tensors that share memory and the best lam may be the present one.
        tensors = {name: leaf.clone() for name, leaf in named.items()}
        if self.best:
            tensors |= {f"{OUTCOMES}{name}": values.clone() for name, values in self.best.outcomes.items()}
        facts = {
            "strides": {name: leaf.stride() for name, leaf in named.items() if not leaf.is_contiguous()},
            "spec": spec.canonical(),
            "best": self.best.scores._asdict() if self.best else None,
            "seconds": asdict(self.seconds),
            "diagnostics": {name: seen._asdict() for name, seen in self.diagnostics.items()},
        }
        return Checkpoint(self.hyperiteration, pack(tensors, facts))


def restore(checkpoint: Checkpoint, spec: Experiment, *, like: Progress) -> Progress:
    """Unpacks a checkpoint into the structure, types and device of `like`.

    Raises:
        CheckpointInvalid: it is not a checkpoint, or one of another experiment.
    """
    try:
        named, facts = unpack(checkpoint.payload)
        if Experiment.model_validate(facts["spec"]) != spec:
            raise CheckpointInvalid("The checkpoint is one of another experiment: its spec is not the same.")
        outcomes = {name.removeprefix(OUTCOMES): named.pop(name) for name in sorted(named) if name.startswith(OUTCOMES)}
        parts: dict[str, Tree] = {"state": like.state}
        if facts["best"]:
            parts["best"] = like.state.lam
        models, strides = trees.named_leaves(parts), facts.get("strides", {})
        laid = {name: _laid_out(leaf, models.get(name, leaf), strides.get(name)) for name, leaf in named.items()}
        placed: Any = trees.from_named_leaves(parts, laid)
        best = Best(Scores(**facts["best"]), placed["best"], outcomes) if facts["best"] else None
        seen = {name: Seen(**values) for name, values in facts.get("diagnostics", {}).items()}
        return Progress(checkpoint.hyperiteration, placed["state"], best, Spent(**facts["seconds"]), seen)
    except CheckpointInvalid:
        raise
    except Exception as error:  # whatever is wrong with the bytes
        raise CheckpointInvalid(f"The checkpoint cannot be read: {error}") from error


def _laid_out(leaf: Tensor, model: Tensor, strides: Sequence[int] | None) -> Tensor:
    """A copy on the model's device that lies in memory as it did before.

    Kernels may round differently on another layout, or on memory that is not aligned, which tensors of a file are not.
    """
    placed = leaf.to(model.device, model.dtype)
    if strides is None or 0 in strides:
        return placed.clone()
    return torch.empty_strided(placed.shape, strides, dtype=placed.dtype, device=placed.device).copy_(placed)
