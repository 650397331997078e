"""The data sets that come with scikit-learn."""

from typing import assert_never

import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

from core.datasets.table import Table
from core.spec import datasets as spec


def load(dataset: spec.Digits | spec.BreastCancer | spec.Wine | spec.Diabetes) -> Table:
    """Digits (pixels scaled to [0, 1]), breast cancer, wine, diabetes (raw features), in float64."""
    match dataset:
        case spec.Digits():
            x, y = load_digits(return_X_y=True)
            x = x / 16.0
        case spec.BreastCancer():
            x, y = load_breast_cancer(return_X_y=True)
        case spec.Wine():
            x, y = load_wine(return_X_y=True)
        case spec.Diabetes():
            x, y = load_diabetes(return_X_y=True, scaled=False)
        case _:
            assert_never(dataset)
    target = torch.from_numpy(y).to(torch.int64 if dataset.classes else torch.float64)
    return Table(torch.from_numpy(x).to(torch.float64), target)
