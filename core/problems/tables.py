"""Data sets of feature vectors as the problems here take them: split, standardized, placed."""

from typing import NamedTuple

from torch import Tensor

from core.datasets.splits import Examples, Scaling, Split, convert, scaling, split_table, standardize
from core.datasets.tables import load_table
from core.problems.instance import Context
from core.spec.sizes import TableProblem, test_examples, training_examples, validation_examples


class Data(NamedTuple):
    """The three sets, on the device."""

    split: Split
    scaling: Scaling
    """What the features were shifted and scaled by."""
    unit: float = 1.0
    """Deviation of targets that are numbers, by which they were divided."""


def load(problem: TableProblem, context: Context) -> Data:
    """Splits the table by seed; features and number targets get mean 0 and deviation 1 on the training set."""
    split = split_table(
        load_table(problem.dataset, context.data_dir),
        train=training_examples(problem),
        validation=validation_examples(problem),
        test=test_examples(problem),
        seed=context.seed,
    )
    scales = scaling(split)
    split, unit = _standardize_targets(standardize(split))
    return Data(convert(split, dtype=context.dtype, device=context.device), scales, unit)


def _standardize_targets(split: Split) -> tuple[Split, float]:
    if not split.train.y.is_floating_point():
        return split, 1.0
    mean, deviation = split.train.y.mean(), split.train.y.std(correction=0)

    def scaled(y: Tensor) -> Tensor:
        return (y - mean) / deviation

    train, validation, test = (Examples(part.x, scaled(part.y)) for part in split)
    return Split(train, validation, test), float(deviation)
