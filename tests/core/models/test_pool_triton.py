"""The pool's kernels against the plain code in float64."""

import pytest
import torch
from torch import Tensor

from core.models.image_sets import image_sets
from core.models.pool import largest, pooled
from tests.core.models.interpreted import DEVICE, INTERPRETED, NEEDED, divided, interpreter

__all__ = ["divided", "interpreter"]

GROUPS = ((2, 3), (3, 5))
"""Sets of three images and of five."""
IMAGES = 21
SHAPES = (
    (2, 3, 3),
    (2, 2, 64),
    (10, 10, 32),
    (21, 21, 100),
    (7, 12, 96),
    *(() if INTERPRETED else ((42, 42, 32), (84, 84, 16))),
)
"""Height, width, channels."""

pytestmark = NEEDED


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def images(dtype: torch.dtype, height: int, width: int, channels: int) -> Tensor:
    """Of some that are alike: as few numbers as bfloat16 has, so that windows have several largest ones."""
    x = draw(IMAGES, height, width, channels) * 2 + draw(IMAGES, 1, 1, channels, seed=1)
    return x.mul(8).round().div(8).to(dtype).requires_grad_()


def all_of(x: Tensor, present: Tensor | None = None) -> tuple[Tensor, ...]:
    dtype = torch.promote_types(x.dtype, torch.float32)
    y, values = pooled(x, image_sets(*GROUPS, device=torch.device(DEVICE), dtype=dtype, present=present))
    return y, *values


def cotangents(found: tuple[Tensor, ...]) -> list[Tensor]:
    return [draw(*part.shape, seed=4 + number).to(part.dtype) for number, part in enumerate(found)]


def close(one: Tensor, other: Tensor, relative: float) -> None:
    """In the norm, as sums cancel."""
    assert one.isfinite().all()
    assert one.shape == other.shape
    assert (one.double() - other.double()).norm() <= relative * other.double().norm()


@pytest.mark.usefixtures("divided")
@pytest.mark.parametrize("present", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradients(dtype: torch.dtype, shape: tuple[int, int, int], present: bool) -> None:
    x = images(dtype, *shape)
    which = torch.arange(IMAGES, device=DEVICE) % 5 != 4 if present else None  # all but a few of the larger sets
    found, exact_x = all_of(x, which), x.detach().double().requires_grad_()
    exact, bars = all_of(exact_x, which), cotangents(found)
    assert type(found[0].grad_fn).__name__ == "_ByKernelsBackward"
    (x_bar,) = torch.autograd.grad(found, x, bars)
    (exact_bar,) = torch.autograd.grad(exact, exact_x, [bar.double() for bar in bars])
    assert found[0].dtype == x_bar.dtype == dtype
    assert found[0].double().equal(exact[0])
    for one, other in zip(found[1:], exact[1:], strict=True):
        assert one.dtype == torch.float32
        close(one, other, 1e-5)
    close(x_bar, exact_bar, 1e-5 if dtype == torch.float32 else torch.finfo(dtype).eps)


@pytest.mark.usefixtures("divided")
@pytest.mark.parametrize("shape", [*SHAPES, (1, 1, 3), (1, 9, 32)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_pool_alone(dtype: torch.dtype, shape: tuple[int, int, int]) -> None:
    """To the bit: of several largest ones the first has the cotangent, as torch has it."""
    x = images(dtype, *shape)
    y, exact_x = largest(x), x.detach().double().requires_grad_()
    exact, bar = largest(exact_x), draw(*y.shape, seed=4).to(dtype)
    (x_bar,), (exact_bar,) = torch.autograd.grad(y, x, bar), torch.autograd.grad(exact, exact_x, bar.double())
    assert y.dtype == x_bar.dtype == dtype
    assert y.double().equal(exact)
    assert x_bar.double().equal(exact_bar)


def test_what_is_no_number_is_the_largest() -> None:
    x = images(torch.float32, 5, 5, 32).detach()
    x[:, 1, 0] = torch.nan
    y = largest(x)
    assert y[:, 0, 0].isnan().all()
    assert y.isnan().sum() == IMAGES * 32


@pytest.mark.parametrize("number", [0, 1, 2])
def test_each_of_the_three_alone(number: int) -> None:
    x = images(torch.float32, 21, 21, 32)
    found, exact_x = all_of(x), x.detach().double().requires_grad_()
    exact, bars = all_of(exact_x), cotangents(found)
    (x_bar,) = torch.autograd.grad(found[number], x, bars[number])
    (exact_bar,) = torch.autograd.grad(exact[number], exact_x, bars[number].double())
    close(x_bar, exact_bar, 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_to_the_bit_again(dtype: torch.dtype) -> None:
    x = images(dtype, 22, 22, 32)
    bars = cotangents(all_of(x))
    found, again = [(*values, *torch.autograd.grad(values, x, bars)) for values in (all_of(x), all_of(x))]
    for one, other in zip(found, again, strict=True):
        assert one.equal(other)


def test_images_may_lie_apart_in_memory() -> None:
    x = images(torch.float32, 10, 10, 32)
    bars = cotangents(all_of(x))
    apart = x.detach().movedim(-1, 1).contiguous().movedim(1, -1).requires_grad_()
    (together,), (found,) = torch.autograd.grad(all_of(x), x, bars), torch.autograd.grad(all_of(apart), apart, bars)
    assert found.equal(together)


def test_cotangents_may_lie_apart_in_memory() -> None:
    x = images(torch.float32, 10, 10, 32)
    found = all_of(x)
    bars = cotangents(found)
    apart = [bar.transpose(0, -1).contiguous().transpose(0, -1) for bar in bars]
    assert torch.autograd.grad(all_of(x), x, apart)[0].equal(torch.autograd.grad(found, x, bars)[0])


def test_a_large_mean_does_not_cancel_the_variance() -> None:
    x = (draw(IMAGES, 21, 21, 32) * 0.1 + 1000).float()
    close(all_of(x)[2], all_of(x.double())[2], 1e-3)


def test_second_derivatives() -> None:
    def second(x: Tensor) -> Tensor:
        loss = torch.stack([part.tanh().pow(3).sum() for part in all_of(x)]).sum()
        (slope,) = torch.autograd.grad(loss, x, create_graph=True)
        return torch.autograd.grad(slope, x, draw(*slope.shape, seed=7).to(slope))[0]

    x = images(torch.float32, 21, 21, 32)
    close(second(x), second(x.detach().double().requires_grad_()), 1e-4)


def test_cotangents_are_batched() -> None:
    x = images(torch.float32, 10, 10, 32)
    y = all_of(x)[0]
    bars = draw(4, *y.shape, seed=7).float()
    found = torch.autograd.grad(y, x, bars, retain_graph=True, is_grads_batched=True)[0]
    close(found, torch.stack([torch.autograd.grad(y, x, bar, retain_graph=True)[0] for bar in bars]), 1e-5)
