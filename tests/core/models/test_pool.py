"""Pools whose inputs are differentiated twice are torch's own, and have what those have not."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from core.models.image_sets import image_sets
from core.models.pool import largest, pooled


def images(*shape: int) -> Tensor:
    """Of a few values, so that windows have several largest pixels."""
    return torch.randint(0, 4, shape, generator=torch.Generator().manual_seed(0)).double().requires_grad_()


def with_statistics(x: Tensor, **knobs: bool) -> Tensor:
    return pooled(x, image_sets((1, len(x)), device=x.device, dtype=x.dtype), **knobs)[0]


@pytest.mark.parametrize("pool", [largest, with_statistics])
@pytest.mark.parametrize("size", [(4, 6), (5, 7)])
@pytest.mark.parametrize("strided", [False, True])
def test_to_the_bit_as_the_others(pool: Any, size: tuple[int, int], strided: bool) -> None:
    x = images(3, 2, *size).movedim(1, -1) if strided else images(3, *size, 2)
    found, expected = pool(x, twice=True), pool(x)
    assert found.equal(expected)
    bars = torch.rand_like(expected)
    assert torch.autograd.grad(found, x, bars)[0].equal(torch.autograd.grad(expected, x, bars)[0])


@pytest.mark.parametrize("pool", [largest, with_statistics])
def test_derivatives_for_many_directions_at_once(pool: Any) -> None:
    x = torch.randperm(2 * 5 * 4 * 2).double().view(2, 5, 4, 2).requires_grad_()

    def twice(x: Tensor) -> Tensor:
        return pool(x, twice=True)  # type: ignore[no-any-return]

    assert gradcheck(twice, (x,), check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True)
    assert gradgradcheck(twice, (x,), check_fwd_over_rev=True, check_batched_grad=True)
