import math

import pytest
import torch

from core.problems.instance import HIGHEST_ACCURACY, LOWEST_LOSS, Metric, metric


def test_metric_is_mean_and_interval() -> None:
    found = metric(torch.tensor([0.0, 1.0, 1.0, 0.0]), "episodes")
    assert found.mean == 0.5
    assert found.ci95 == pytest.approx(1.96 * math.sqrt(1 / 3) / 2)
    assert found.plain() == {"mean": 0.5, "ci95": found.ci95, "episodes": 4}


def test_metric_of_one_value_has_no_width() -> None:
    assert metric(torch.tensor(3.0)) == Metric(3.0, 0.0, 1, "examples")


def test_metric_of_nan_is_nan() -> None:
    assert math.isnan(metric(torch.tensor([1.0, math.nan])).mean)


@pytest.mark.parametrize(
    ("new", "old", "lower", "higher"),
    [
        (1.0, None, True, True),
        (math.nan, None, True, True),
        (1.0, 2.0, True, False),
        (2.0, 1.0, False, True),
        (1.0, 1.0, False, False),
        (math.nan, 1.0, False, False),
        (1.0, math.nan, True, True),
        (math.nan, math.nan, False, False),
        (math.inf, 1.0, False, True),
    ],
)
def test_the_earliest_of_equals_is_the_best_and_nan_never(
    new: float, old: float | None, lower: bool, higher: bool
) -> None:
    assert LOWEST_LOSS.improves(new, old) is lower
    assert HIGHEST_ACCURACY.improves(new, old) is higher
