"""The norm's kernels against the plain code in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import jvp, vjp, vmap

from core.models.image_sets import image_sets
from core.models.norm import Statistics, normalize, set_statistics
from tests.core.models.interpreted import DEVICE, GPU, INTERPRETED, NEEDED, divided, interpreter

__all__ = ["divided", "interpreter"]

GROUPS = ((2, 3), (3, 5))
"""Sets of three images and of five."""
IMAGES = 21
SIZES = [(1, 3), (4, 64), (49, 32), (121, 100), *([] if INTERPRETED else [(441, 96), (7056, 64)])]
"""Pixels, channels."""

pytestmark = NEEDED


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def padded() -> Tensor:
    """Which images are in a set: all but a few of the larger ones."""
    return torch.arange(IMAGES, device=DEVICE) % 5 != 4


def bound(dtype: torch.dtype) -> float:
    return 1e-5 if dtype == torch.float32 else torch.finfo(dtype).eps


def close(one: Tensor, other: Tensor, relative: float) -> None:
    """In the norm, as sums cancel."""
    assert one.isfinite().all()
    assert (one.double() - other.double()).norm() <= relative * other.double().norm()


def norm_of(
    present: Tensor | None = None, dtype: torch.dtype = torch.float32, leak: float = 1.0
) -> Callable[..., tuple[Tensor, ...]]:
    sets = image_sets(*GROUPS, device=torch.device(DEVICE), dtype=dtype, present=present)

    def everything(x: Tensor, offset: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        y, values = normalize(x, sets, offset, scale, leak=leak)
        return y, values.mean, values.variance

    return everything


def arguments(dtype: torch.dtype, pixels: int, channels: int, *, per_set: bool = False) -> list[Tensor]:
    rows = (sum(count for count, _ in GROUPS),) if per_set else ()
    x = draw(IMAGES, pixels, channels) * 2 + draw(IMAGES, 1, channels, seed=1)
    shifts = [draw(*rows, channels, seed=seed) for seed in (2, 3)]
    return [tensor.to(dtype).requires_grad_() for tensor in (x, *shifts)]


def cotangents(y: Tensor, mean: Tensor, variance: Tensor) -> list[Tensor]:
    return [draw(*part.shape, seed=4 + number).to(part.dtype) for number, part in enumerate((y, mean, variance))]


def doubles(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.detach().double().requires_grad_(tensor.requires_grad) for tensor in tensors]


@pytest.mark.usefixtures("divided")
@pytest.mark.parametrize("leak", [1.0, 0.1, 0.0])
@pytest.mark.parametrize("present", [False, True])
@pytest.mark.parametrize("per_set", [False, True])
@pytest.mark.parametrize(("pixels", "channels"), SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradients(
    dtype: torch.dtype, pixels: int, channels: int, per_set: bool, present: bool, leak: float
) -> None:
    inputs = arguments(dtype, pixels, channels, per_set=per_set)
    which = padded() if present else None
    found = norm_of(which, leak=leak)(*inputs)
    assert type(found[0].grad_fn).__name__ == "_ByKernelsBackward"
    bars = cotangents(*found)
    grads = torch.autograd.grad(found, inputs, bars)
    exact_inputs = doubles(inputs)
    exact = norm_of(which, torch.float64, leak)(*exact_inputs)
    exact_grads = torch.autograd.grad(exact, exact_inputs, doubles(bars))
    for one, other, like in zip((*found, *grads), (*exact, *exact_grads), (*found, *inputs), strict=True):
        assert one.dtype == like.dtype
        assert one.shape == like.shape
        close(one, other, bound(one.dtype))
    if which is not None:
        assert not found[0][~which].any()
        assert not grads[0][~which].any()


def shifted_by(leak: float, dtype: torch.dtype = torch.float32) -> Callable[..., Tensor]:
    sets = image_sets(*GROUPS, device=torch.device(DEVICE), dtype=dtype, present=padded())

    def everything(x: Tensor, offset: Tensor, scale: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
        return normalize(x, sets, offset, scale, Statistics(mean, spread.square()), leak=leak)[0]

    return everything


def with_statistics(dtype: torch.dtype, pixels: int, channels: int, *, per_set: bool) -> list[Tensor]:
    rows = sum(count for count, _ in GROUPS)
    given = [draw(rows, channels, seed=seed).float().requires_grad_() for seed in (8, 9)]
    return [*arguments(dtype, pixels, channels, per_set=per_set), *given]


@pytest.mark.usefixtures("divided")
@pytest.mark.parametrize("leak", [1.0, 0.1, 0.0])
@pytest.mark.parametrize("per_set", [False, True])
@pytest.mark.parametrize(("pixels", "channels"), [(4, 64), (121, 100), (441, 32)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_with_statistics_that_are_given(
    dtype: torch.dtype, pixels: int, channels: int, per_set: bool, leak: float
) -> None:
    inputs = with_statistics(dtype, pixels, channels, per_set=per_set)
    y = shifted_by(leak)(*inputs)
    bar = draw(*y.shape, seed=4).to(dtype)
    grads = torch.autograd.grad(y, inputs, bar)
    exact_inputs = doubles(inputs)
    exact = shifted_by(leak, torch.float64)(*exact_inputs)
    exact_grads = torch.autograd.grad(exact, exact_inputs, bar.double())
    for one, other, like in zip((y, *grads), (exact, *exact_grads), (y, *inputs), strict=True):
        assert one.dtype == like.dtype
        assert one.shape == like.shape
        close(one, other, bound(one.dtype))
    assert not y[~padded()].any()


@GPU
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_to_the_bit_again_and_in_a_graph(dtype: torch.dtype) -> None:
    inputs = arguments(dtype, 441, 96)
    bars = cotangents(*norm_of()(*inputs))
    sets = image_sets(*GROUPS, device=torch.device(DEVICE), dtype=torch.float32)

    def everything() -> tuple[Tensor, ...]:
        y, values = normalize(inputs[0], sets, *inputs[1:])
        return y, *values, *torch.autograd.grad((y, *values), inputs, bars)

    with torch.cuda.stream(torch.cuda.Stream()):
        found, again = everything(), everything()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = everything()
        graph.replay()
        torch.cuda.synchronize()
    for one, other, replayed in zip(found, again, captured, strict=True):
        assert one.equal(other)
        assert one.equal(replayed)


def test_images_may_lie_apart_in_memory() -> None:
    x, offset, scale = arguments(torch.float32, 49, 32)
    bar = draw(IMAGES, 32, 49, seed=4).float().mT
    together = torch.autograd.grad(norm_of()(x, offset, scale)[0], x, bar.contiguous())[0]
    apart = x.detach().mT.contiguous().mT.requires_grad_()
    assert torch.autograd.grad(norm_of()(apart, offset, scale)[0], apart, bar)[0].equal(together)


def test_statistics_may_lie_apart_in_memory() -> None:
    """As they do where one tensor stands for all sets, or where they come transposed."""
    x, offset, scale, mean, spread = with_statistics(torch.float32, 49, 32, per_set=False)
    for values in (mean[:1].expand_as(mean), mean.detach().mT.contiguous().mT):
        inputs = [x, offset, scale, values.detach().requires_grad_(), spread]
        y = shifted_by(0.1)(*inputs)
        bar = draw(*y.shape, seed=4).float()
        exact_inputs = doubles(inputs)
        exact = torch.autograd.grad(shifted_by(0.1, torch.float64)(*exact_inputs), exact_inputs, bar.double())
        for one, other in zip(torch.autograd.grad(y, inputs, bar), exact, strict=True):
            close(one, other, 1e-5)


def test_a_relu_cuts_off_what_is_infinite() -> None:
    x, offset, scale = arguments(torch.float32, 49, 32)
    y = norm_of(leak=0.0)(x, offset, scale)[0]
    bar = torch.where(y > 0, 1.0, torch.inf)
    exact_x, *others = doubles([x, offset, scale])
    exact = norm_of(None, torch.float64, 0.0)(exact_x, *others)[0]
    assert (exact > 0).equal(y > 0)
    close(torch.autograd.grad(y, x, bar)[0], torch.autograd.grad(exact, exact_x, bar.double())[0], 1e-5)


@pytest.mark.parametrize("leak", [1.0, 0.1, 0.0])
def test_what_is_no_number_stays_so(leak: float) -> None:
    x, offset, scale = (tensor.detach() for tensor in arguments(torch.float32, 49, 32))
    x[0, 0, 0] = torch.nan
    y = norm_of(leak=leak)(x, offset, scale)[0]
    assert y[:3, :, 0].isnan().all()
    assert y.isnan().sum() == 3 * 49


def test_a_large_mean_does_not_cancel_the_variance() -> None:
    x = (draw(IMAGES, 441, 32) * 0.1 + 1000).float()
    found = set_statistics(x, image_sets(*GROUPS, device=x.device, dtype=torch.float32))
    exact = set_statistics(x.double(), image_sets(*GROUPS, device=x.device, dtype=torch.float64))
    close(found.variance, exact.variance, 1e-3)
    close(found.mean, exact.mean, 1e-6)


@pytest.mark.parametrize("leak", [1.0, 0.1])
@pytest.mark.parametrize("per_set", [False, True])
def test_second_derivatives(per_set: bool, leak: float) -> None:
    inputs = arguments(torch.float32, 49, 32, per_set=per_set)

    def second(everything: Callable[..., tuple[Tensor, ...]], inputs: list[Tensor]) -> tuple[Tensor, ...]:
        y = everything(*inputs)[0]
        grads = torch.autograd.grad(y.tanh().pow(3).sum(), inputs, create_graph=True)
        directions = [draw(*grad.shape, seed=7 + number).to(grad) for number, grad in enumerate(grads)]
        return torch.autograd.grad(grads, inputs, directions)

    exact = second(norm_of(None, torch.float64, leak), doubles(inputs))
    for one, other in zip(second(norm_of(leak=leak), inputs), exact, strict=True):
        close(one, other, 1e-4)


def test_second_derivatives_with_statistics_that_are_given() -> None:
    inputs = with_statistics(torch.float32, 49, 32, per_set=False)

    def second(everything: Callable[..., Tensor], inputs: list[Tensor]) -> tuple[Tensor, ...]:
        grads = torch.autograd.grad(everything(*inputs).tanh().pow(3).sum(), inputs, create_graph=True)
        directions = [draw(*grad.shape, seed=10 + number).to(grad) for number, grad in enumerate(grads)]
        return torch.autograd.grad(grads, inputs, directions)

    exact = second(shifted_by(0.1, torch.float64), doubles(inputs))
    for one, other in zip(second(shifted_by(0.1), inputs), exact, strict=True):
        close(one, other, 1e-4)


def test_cotangents_are_batched() -> None:
    x, offset, scale = arguments(torch.float32, 49, 32)
    y = norm_of()(x, offset, scale)[0]
    bars = draw(4, *y.shape, seed=7).float()
    found = torch.autograd.grad(y, x, bars, retain_graph=True, is_grads_batched=True)[0]
    close(found, torch.stack([torch.autograd.grad(y, x, bar, retain_graph=True)[0] for bar in bars]), 1e-5)


def test_torch_func_differentiates_and_batches() -> None:
    inputs = [tensor.detach() for tensor in arguments(torch.float32, 49, 32)]
    directions = [draw(4, *tensor.shape, seed=7 + number).float() for number, tensor in enumerate(inputs)]

    def all_of(everything: Callable[..., tuple[Tensor, ...]], inputs: list[Tensor], directions: list[Tensor]):
        along = [direction[0] for direction in directions]
        values, pull = vjp(everything, *inputs)
        yield from pull(tuple(cotangents(*values)))
        yield from jvp(everything, tuple(inputs), tuple(along))[1]
        yield from vmap(lambda *each: jvp(everything, tuple(inputs), each)[1])(*directions)
        yield from vjp(lambda *each: vjp(everything, *each)[1](tuple(cotangents(*values))), *inputs)[1](tuple(along))

    found = all_of(norm_of(), inputs, directions)
    exact = all_of(norm_of(None, torch.float64), doubles(inputs), doubles(directions))
    for one, other in zip(found, exact, strict=True):
        close(one, other, 1e-4)
