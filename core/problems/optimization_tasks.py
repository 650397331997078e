"""Small optimizations for an optimizer to learn on: many tasks stacked, drawn by (seed, part, number)."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import count
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional

from core.bilevel import trees
from core.bilevel.derivatives import WithGradient
from core.bilevel.finite_sum import Rows
from core.bilevel.problem import Tree
from core.bilevel.randomness import stream
from core.datasets.origin import Origin, load_split
from core.datasets.splits import Examples, convert, standardize
from core.models.model import Model
from core.problems.inner import kept
from core.problems.instance import Context
from core.problems.losses import desired
from core.spec import learned_problems as spec
from core.spec.learned_reports import LOOKED_AT

Part = Literal["training", "validation", "test"]


class Stacked(NamedTuple):
    """Tasks, one behind the other."""

    start: Tensor
    """theta_0 [tasks, n]."""
    losses: Callable[[int | None, Tensor], Tensor]
    """(t, theta [tasks, n]) -> L_t [tasks]; None: on all examples, of which no more than LOOKED_AT are looked at."""
    slopes: Callable[[int | None, Tensor], Tensor] | None = None
    """(t, theta) -> their gradients [tasks, n], where those are written out."""

    def total(self) -> Callable[[int | None, Tensor], Tensor]:
        """(t, theta) -> the sum of the losses, whose gradient is that of each."""

        def value(t: int | None, theta: Tensor) -> Tensor:
            return self.losses(t, theta).sum()

        return value if self.slopes is None else WithGradient(value, self.slopes, 1)


class TaskFamily(NamedTuple):
    """Where tasks are drawn from."""

    coordinates: int
    """Entries n of a task's theta."""
    draw: Callable[[Part, int, int], Stacked]
    """(part, number, tasks) -> tasks that are a function of these and the seed."""
    origin: Origin | None = None
    """Of the data that the tasks are on, where they are on data."""


def quadratics(tasks: spec.Quadratics, context: Context) -> TaskFamily:
    """L = ||W theta - y||^2."""
    d = tasks.dimension

    def draw(part: Part, number: int, size: int) -> Stacked:
        generator = stream(context.seed, "tasks", part, number)
        drawn = torch.randn(size, d, d + 1, dtype=torch.float64, generator=generator)
        W, y = context.place(drawn[..., :d]), context.place(drawn[..., d])

        def rest(theta: Tensor) -> Tensor:
            found: Tensor = (W @ theta.unsqueeze(-1)).squeeze(-1) - y
            return found

        def losses(t: int | None, theta: Tensor) -> Tensor:
            return rest(theta).square().sum(-1)

        def slopes(t: int | None, theta: Tensor) -> Tensor:
            found: Tensor = 2 * (W.mT @ rest(theta).unsqueeze(-1)).squeeze(-1)
            return found

        return Stacked(torch.zeros_like(y), losses, slopes)

    return TaskFamily(d, draw)


def classification(tasks: spec.Classification, model: Model, context: Context) -> TaskFamily:
    """L_t = mean cross-entropy of the t-th minibatch."""
    parts, origin = parts_of(tasks, context)
    shapes, structure = trees.flatten(model.init(Generator()))
    sizes = [leaf.numel() for leaf in shapes]
    targets = {name: desired(part.y, tasks.dataset.classes, part.x.dtype) for name, part in parts.items()}

    def start(generator: Generator) -> Tensor:
        return torch.cat([leaf.flatten() for leaf in trees.leaves(model.init(generator))])

    def parameters(theta: Tensor) -> Tree:
        """Those of the model with a leading axis for the tasks, from theta [tasks, n]."""
        pieces = zip(torch.split(theta, sizes, dim=-1), shapes, strict=True)
        return trees.unflatten([piece.view(*piece.shape[:-1], *leaf.shape) for piece, leaf in pieces], structure)

    def draw(part: Part, number: int, size: int) -> Stacked:
        examples, index = parts[part], (context.seed, "tasks", part, number)
        starts = torch.stack([start(stream(*index, task)) for task in range(size)])

        batch = min(tasks.batch or len(examples.x), len(examples.x))

        @lru_cache(maxsize=kept(size * batch))
        def drawn(t: int) -> NDArray[np.int64]:
            return minibatches(len(examples.x), batch, size, stream(*index, "step", t))

        def rows(t: int | None) -> Rows:
            """Of all tasks, or with a leading axis for them."""
            if t is None or tasks.batch is None:
                return slice(LOOKED_AT if t is None else None)
            return torch.from_numpy(drawn(t)).to(context.device)

        def losses(t: int | None, theta: Tensor) -> Tensor:
            seen = rows(t)
            return cross_entropy(model.apply(parameters(theta), examples.x[seen]), examples.y[seen])

        def slopes(t: int | None, theta: Tensor) -> Tensor:
            assert model.pull is not None
            seen = rows(t)
            scores, back = model.pull(parameters(theta), examples.x[seen])
            residuals = (scores.softmax(-1) - targets[part][seen]) / scores.shape[-2]
            return torch.cat([leaf.flatten(1) for leaf in trees.leaves(back(residuals))], dim=1)

        return Stacked(context.place(starts), losses, slopes if model.pull else None)

    return TaskFamily(sum(sizes), draw, origin)


def minibatches(examples: int, batch: int, tasks: int, generator: Generator) -> NDArray[np.int64]:
    """Rows [tasks, batch], without replacement within a task; drawn with numpy, as torch draws nothing under vmap."""
    draws = np.random.default_rng(generator.initial_seed())
    return np.stack([draws.choice(examples, batch, replace=False) for _ in range(tasks)])


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Means over examples [tasks]: scores [tasks, examples, classes], labels [examples] or [tasks, examples]."""
    each = functional.cross_entropy(scores.mT, labels.expand(scores.shape[:2]), reduction="none")
    return each.mean(-1)


def parts_of(tasks: spec.Classification, context: Context) -> tuple[dict[Part, Examples], Origin]:
    """Half, a quarter, and the rest, or the data set's own sets; and which rows of which data these are."""
    dataset = tasks.dataset
    train, validation = dataset.examples // 2, dataset.validation_examples or dataset.examples // 4
    test = dataset.test_examples or dataset.examples - train - (0 if dataset.validation_examples else validation)
    sizes = {"train": train, "validation": validation, "test": test}
    split, origin = load_split(dataset, context.data_dir, **sizes, seed=context.seed)
    parts = convert(standardize(split), dtype=context.dtype, device=context.device)
    return {"training": parts.train, "validation": parts.validation, "test": parts.test}, origin


def at_most(family: TaskFamily, part: Part, tasks: int, together: int) -> Iterator[Stacked]:
    """So many tasks of a part, at most `together` at a time; the same ones at every call."""
    for number in count():
        size = min(together, tasks - number * together)
        if size < 1:
            return
        yield family.draw(part, number, size)
