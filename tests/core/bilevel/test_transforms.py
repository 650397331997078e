"""Transforms: onto the right interval, one-to-one, smooth."""

import torch
from torch import Tensor

from core.bilevel.transforms import positive, unit_interval


def test_there_and_back() -> None:
    free = torch.linspace(-8, 8, 33, dtype=torch.float64)
    for transform in (positive, unit_interval):
        natural = transform.forward(free)
        assert torch.allclose(transform.inverse(natural), free, rtol=1e-9)
        assert (natural > 0).all()
        assert (natural.diff() > 0).all()
    assert (unit_interval.forward(free) < 1).all()


def test_derivatives() -> None:
    free = torch.linspace(-3, 3, 7, dtype=torch.float64)

    def slopes(function: object) -> Tensor:
        found: Tensor = torch.func.vmap(torch.func.grad(function))(free)  # type: ignore[arg-type]
        return found

    assert torch.allclose(slopes(positive.forward), free.exp())
    s = free.sigmoid()
    assert torch.allclose(slopes(unit_interval.forward), s * (1 - s))
