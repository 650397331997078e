"""What a kind of problem gives the loop: outer variables to start from, bilevel problems, measures."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.finite_sum import FiniteSum
from core.bilevel.problem import Dynamics, Problem, Tree
from core.datasets.origin import Origin
from core.problems.artifacts import Artifacts, no_artifacts


class Context(NamedTuple):
    """Where and with what an instance is made."""

    seed: int
    dtype: torch.dtype
    device: torch.device
    data_dir: Path
    episodes: int
    """Episodes of an evaluation (few-shot problems)."""
    network: torch.dtype | None = None
    """Format of the forward and backward pass of a representation; None: `dtype`, as all else."""
    artifacts: Artifacts = no_artifacts
    """Files of other experiments."""

    def place(self, tree: Tree) -> Any:
        """The tree with its floating-point tensors in the dtype, and all of it on the device."""

        def leaf(x: Tensor) -> Tensor:
            return x.to(self.device, self.dtype if x.is_floating_point() else x.dtype)

        return trees.map_leaves(leaf, tree)


@dataclass(frozen=True)
class Metric:
    """A mean with its 95 % interval over independent examples or episodes."""

    mean: float
    ci95: float
    """1.96 std / sqrt(size)."""
    size: int
    unit: Literal["examples", "episodes"]
    values: Tensor | None = field(default=None, compare=False, repr=False)
    """What the mean is of [size], float64 in main memory, where it was kept."""

    def plain(self) -> dict[str, float | int]:
        """As in a result: {"mean", "ci95", "examples" or "episodes"}."""
        return {"mean": self.mean, "ci95": self.ci95, self.unit: self.size}


Metrics = Mapping[str, Metric]


def plain(metrics: Metrics) -> dict[str, dict[str, float | int]]:
    """As in a result, by name."""
    return {name: value.plain() for name, value in metrics.items()}


class Evaluation(NamedTuple):
    """How good outer variables are; the test metrics never choose anything."""

    validation: Metrics
    test: Metrics

    def outcomes(self) -> dict[str, Tensor]:
        """What each metric is the mean of [size], by `validation/NAME` and `test/NAME`."""
        return {
            f"{part}/{name}": metric.values
            for part, metrics in self._asdict().items()
            for name, metric in metrics.items()
            if metric.values is not None
        }


def metric(values: Tensor, unit: Literal["examples", "episodes"] = "examples") -> Metric:
    """The mean of values [size], one for each example or episode."""
    size = values.numel()
    values = values.detach().double().flatten()
    deviation = values.std(correction=1) if size > 1 else values.new_zeros(())
    mean, ci95 = torch.stack([values.mean(), 1.96 * deviation / math.sqrt(size)]).tolist()
    return Metric(mean, ci95, size, unit, values.cpu())


class Selection(NamedTuple):
    """Which outer variables are the best: those with the best mean of a validation metric, the earliest of equals."""

    metric: str
    better: Literal["higher", "lower"]

    def improves(self, new: float, old: float | None) -> bool:
        """Whether `new` is strictly better; NaN is worse than any number, anything is better than nothing."""
        if old is None:
            return True
        if math.isnan(new) or math.isnan(old):
            return math.isnan(old) and not math.isnan(new)
        return new > old if self.better == "higher" else new < old


LOWEST_LOSS = Selection("loss", "lower")
HIGHEST_ACCURACY = Selection("accuracy", "higher")


def _unchanged(lam: Tree) -> Tree:
    return lam


def _nothing(lam: Tree) -> dict[str, Any]:
    return {}


class Evaluate(Protocol):
    """How good outer variables are; the same data at every call."""

    def __call__(self, lam: Tree, w: "Tree | None" = None, /) -> Evaluation:
        """Scores the model w, where the algorithm keeps inner variables; else the one that T inner steps give."""
        ...


@dataclass(frozen=True)
class Instance:
    """One problem with its data, ready to be optimized."""

    initial: Tree
    """lam at hyperiteration 0: floating-point tensors in the context's dtype, on its device."""
    at: Callable[[int], tuple[Problem, Dynamics]]
    """k -> the bilevel problem and inner dynamics of hyperiteration k (its episodes)."""
    evaluate: Evaluate
    """(lam, w or nothing) -> metrics."""
    selection: Selection
    natural: Callable[[Tree], Mapping[str, Tensor]]
    """lam -> a few numbers worth a curve, in natural units (a rate, not its logarithm), by name."""
    finite_sum: FiniteSum | None = None
    """The same problem as means over examples, for algorithms that draw minibatches of both objectives."""
    unrolls: int = 1
    """Hyperiterations that share one inner run, each going on from where the last one ended; `at` gives them all the
    same problem."""
    project: Callable[[Tree], Tree] = _unchanged
    """Onto the set of outer variables that are allowed; a dict may come back with its keys in another order."""
    report: Callable[[Tree], dict[str, Any]] = _nothing
    """lam -> what only this kind of problem can say at the end; plain JSON data."""
    artifacts: Callable[[Tree], Mapping[str, Mapping[str, Tensor]]] = _nothing
    """lam -> further named tensors worth keeping, by file name without suffix."""
    origin: Origin | None = None
    """Which rows of which data it draws from; None: the loop finds out which data the spec names."""
