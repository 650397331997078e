"""Data sets of feature vectors as the problems here take them: split, standardized, placed."""

from typing import NamedTuple

import torch
from torch import Tensor

from core.datasets.origin import Origin, load_split
from core.datasets.splits import Examples, Scaling, Split, convert, scaling, standardize
from core.problems.instance import Context
from core.spec.problems import HyperCleaning, Regularization
from core.spec.sizes import TableProblem, test_examples, training_examples, validation_examples


class Data(NamedTuple):
    """The three sets, on the device."""

    split: Split
    origin: Origin
    scaling: Scaling | None
    """What the features were shifted and scaled by; None: they stay as they are."""
    unit: float = 1.0
    """Deviation of targets that are numbers, by which they were divided."""


class Pool(NamedTuple):
    """Examples that are folded, and the test set, on the device."""

    pool: Examples
    test: Examples
    origin: Origin
    unit: float
    """As of `Data`."""


def load_pool(problem: Regularization, context: Context) -> Pool:
    """Training and validation examples together, standardized by their own mean and deviation; the rest as `load`."""
    (train, validation, test), origin = _split(problem, context)
    pool = Examples(torch.cat([train.x, validation.x]), torch.cat([train.y, validation.y]))
    split, unit = _standardize_targets(standardize(Split(pool, test, test)))
    placed = convert(split, dtype=context.dtype, device=context.device)
    return Pool(placed.train, placed.test, origin, unit)


def load(problem: TableProblem, context: Context) -> Data:
    """Splits the table by seed; features, unless they are to stay, and number targets get mean 0 and deviation 1."""
    split, origin = _split(problem, context)
    as_is = isinstance(problem, HyperCleaning) and not problem.standardize
    scales = None if as_is else scaling(split)
    split, unit = _standardize_targets(split if as_is else standardize(split))
    return Data(convert(split, dtype=context.dtype, device=context.device), origin, scales, unit)


def standardization(scales: Scaling) -> dict[str, Tensor]:
    """As in an artifact: a feature became (x - mean) / scale; `scale` is infinite for a constant one, now 0."""
    return {"mean": scales.mean, "scale": scales.scale}


def _split(problem: TableProblem, context: Context) -> tuple[Split, Origin]:
    return load_split(
        problem.dataset,
        context.data_dir,
        train=training_examples(problem),
        validation=validation_examples(problem),
        test=test_examples(problem),
        seed=context.seed,
    )


def _standardize_targets(split: Split) -> tuple[Split, float]:
    if not split.train.y.is_floating_point():
        return split, 1.0
    mean, deviation = split.train.y.mean(), split.train.y.std(correction=0)

    def scaled(y: Tensor) -> Tensor:
        return (y - mean) / deviation

    train, validation, test = (Examples(part.x, scaled(part.y)) for part in split)
    return Split(train, validation, test), float(deviation)
