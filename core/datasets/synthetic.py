"""A linear regression with irrelevant features (Franceschi et al. 2018, appendix C).

y_i = x_i'w + noise e_i, with x, e normal and w normal on the relevant features, 0 on the others.
"""

import torch

from core.bilevel.randomness import stream
from core.datasets.table import Table
from core.spec.datasets import SyntheticRegression


def load(dataset: SyntheticRegression) -> Table:
    """Features [points, relevant + irrelevant] and targets [points] in float64, a function of the data set's spec."""
    generator = stream(dataset.seed, "synthetic regression")

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    w, x = normal(dataset.relevant), normal(dataset.points, dataset.features)
    return Table(x, x[:, : dataset.relevant] @ w + dataset.noise * normal(dataset.points))
