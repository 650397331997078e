"""Data sets of feature vectors as the problems here take them: split, standardized, placed."""

from typing import NamedTuple

from torch import Tensor

from core.datasets.splits import Examples, Split, convert, split_table, standardize
from core.datasets.tables import load_table
from core.problems.instance import Context
from core.spec.problems import HyperCleaning, Regularization
from core.spec.sizes import test_examples, training_examples, validation_examples


class Data(NamedTuple):
    """The three sets, on the device."""

    split: Split
    unit: float = 1.0
    """Deviation of targets that are numbers, by which they were divided."""


def load(problem: Regularization | HyperCleaning, context: Context) -> Data:
    """Splits the table by seed; features, unless they are to stay, and number targets get mean 0 and deviation 1."""
    split = split_table(
        load_table(problem.dataset, context.data_dir),
        train=training_examples(problem),
        validation=validation_examples(problem),
        test=test_examples(problem),
        seed=context.seed,
    )
    as_is = isinstance(problem, HyperCleaning) and not problem.standardize
    split, unit = _standardize_targets(split if as_is else standardize(split))
    return Data(convert(split, dtype=context.dtype, device=context.device), unit)


def _standardize_targets(split: Split) -> tuple[Split, float]:
    if not split.train.y.is_floating_point():
        return split, 1.0
    mean, deviation = split.train.y.mean(), split.train.y.std(correction=0)

    def scaled(y: Tensor) -> Tensor:
        return (y - mean) / deviation

    train, validation, test = (Examples(part.x, scaled(part.y)) for part in split)
    return Split(train, validation, test), float(deviation)
