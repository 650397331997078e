import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, jvp, vjp

from core.models.image_sets import image_sets, one_set
from core.models.norm import EPSILON, Statistics, normalize, set_statistics


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def both(x: Tensor, offset: Tensor, scale: Tensor | None, groups: int = 2) -> tuple[Tensor, Statistics]:
    """Of images [N, channels, height, width], `groups` sets of the same size."""
    sets = image_sets((groups, len(x) // groups), device=x.device, dtype=x.dtype)
    y, values = normalize(x.movedim(1, -1).flatten(1, 2), sets, offset, scale)
    return y.mT.unflatten(-1, x.shape[2:]), values


def norm(x: Tensor, offset: Tensor, scale: Tensor | None, groups: int = 2) -> Tensor:
    return both(x, offset, scale, groups)[0]


def statistics(x: Tensor, groups: int) -> Statistics:
    return both(x, x.new_zeros(x.shape[1]), None, groups)[1]


@pytest.mark.parametrize("scaled", [True, False])
def test_each_group_agrees_with_the_fused_norm(scaled: bool) -> None:
    x, offset, scale = draw(6, 3, 4, 5) * 3 + 2, draw(3, seed=1), draw(3, seed=2) if scaled else None
    fused = [F.batch_norm(part, None, None, scale, offset, training=True, eps=EPSILON) for part in x.split(3)]
    torch.testing.assert_close(norm(x, offset, scale), torch.cat(fused))


def test_sets_may_have_different_sizes() -> None:
    x, offset, scale = draw(8, 4, 3) * 3 + 2, draw(3, seed=1), draw(3, seed=2)
    sets = image_sets((2, 1), (2, 3), device=x.device, dtype=x.dtype)
    y, values = normalize(x, sets, offset, scale)
    parts = [1, 1, 3, 3]
    fused = [F.batch_norm(part.mT, None, None, scale, offset, True, 0.0, EPSILON).mT for part in x.split(parts)]
    torch.testing.assert_close(y, torch.cat(fused))
    torch.testing.assert_close(values.mean, torch.stack([part.mean((0, 1)) for part in x.split(parts)]))


def test_given_statistics_serve_all_groups() -> None:
    x, offset, scale = draw(6, 3, 4, 5), draw(3, seed=1), draw(3, seed=2)
    mean, variance = draw(3, seed=3), draw(3, seed=4).square()
    fused = F.batch_norm(x, mean, variance, scale, offset, training=False, eps=EPSILON)
    pixels = x.movedim(1, -1).flatten(1, 2)
    found, _ = normalize(pixels, one_set(pixels), offset, scale, Statistics(mean[None], variance[None]))
    torch.testing.assert_close(found, fused.movedim(1, -1).flatten(1, 2))


def test_statistics_are_over_images_and_pixels() -> None:
    x = draw(6, 3, 4, 5)
    values = statistics(x, 2)
    grouped = x.view(2, 3, 3, 4, 5)
    torch.testing.assert_close(values.mean, grouped.mean((1, 3, 4)))
    torch.testing.assert_close(values.variance, grouped.var((1, 3, 4), correction=0))


def test_a_large_mean_does_not_cancel_the_variance() -> None:
    x = (draw(4, 1, 8, 8) * 0.1 + 1000).float()
    torch.testing.assert_close(
        statistics(x, 1).variance.double(), x.double().var(correction=0).view(1, 1), rtol=1e-3, atol=0
    )


def test_first_and_second_derivatives() -> None:
    inputs = tuple(tensor.requires_grad_() for tensor in (draw(4, 2, 2, 2), draw(2, seed=1), draw(2, seed=2)))
    assert gradcheck(norm, inputs, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(norm, inputs, check_fwd_over_rev=True, check_rev_over_rev=True)


def test_the_statistics_are_differentiated_too() -> None:
    inputs = tuple(tensor.requires_grad_() for tensor in (draw(4, 2, 2, 2), draw(2, seed=1), draw(2, seed=2)))

    def everything(x: Tensor, offset: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        y, values = both(x, offset, scale)
        return y, values.mean, values.variance

    assert gradcheck(everything, inputs, check_forward_ad=True)
    assert gradgradcheck(everything, inputs, check_fwd_over_rev=True, check_rev_over_rev=True)


def test_statistics_alone_have_the_same_derivatives() -> None:
    x = draw(4, 2, 3, seed=4).requires_grad_()
    sets = image_sets((1, 1), (1, 3), device=x.device, dtype=x.dtype)

    def alone(x: Tensor) -> tuple[Tensor, ...]:
        return tuple(set_statistics(x, sets))

    def beside_the_norm(x: Tensor) -> tuple[Tensor, ...]:
        return tuple(normalize(x, sets, torch.zeros(3, dtype=x.dtype), None)[1])

    assert gradcheck(alone, x, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True)
    assert gradgradcheck(alone, x, check_fwd_over_rev=True, check_rev_over_rev=True)
    for one, other in zip(alone(x), beside_the_norm(x), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_format_that_is_coarse_is_summed_finely(dtype: torch.dtype) -> None:
    x = (draw(3, 784, 2) + 3).to(dtype)
    sets = image_sets((1, 3), device=x.device, dtype=torch.float32)
    found, exact = set_statistics(x, sets), x.double().flatten(0, 1)
    bound = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(found.mean[0].double(), exact.mean(0), rtol=bound, atol=0)
    torch.testing.assert_close(found.variance[0].double(), exact.var(0, correction=0), rtol=bound, atol=0)


def test_derivatives_are_those_of_the_formula() -> None:
    x, offset, scale = draw(6, 3, 2, 3) * 2 + 1, draw(3, seed=1), draw(3, seed=2)

    def formula(x: Tensor, offset: Tensor, scale: Tensor) -> Tensor:
        grouped = x.view(2, 3, 3, 2, 3)
        variance, mean = torch.var_mean(grouped, (1, 3, 4), correction=0, keepdim=True)
        unit = (grouped - mean) / (variance + EPSILON).sqrt()
        return (unit * scale[:, None, None] + offset[:, None, None]).flatten(0, 1)

    cotangent, tangents = draw(6, 3, 2, 3, seed=3), (draw(6, 3, 2, 3, seed=4), draw(3, seed=5), draw(3, seed=6))
    for one, other in zip(
        vjp(norm, x, offset, scale)[1](cotangent), vjp(formula, x, offset, scale)[1](cotangent), strict=True
    ):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(
        jvp(norm, (x, offset, scale), tangents)[1], jvp(formula, (x, offset, scale), tangents)[1]
    )


def test_directions_are_batched_in_forward_mode() -> None:
    x, offset, scale = draw(4, 3, 2, 2), draw(3, seed=2), draw(3, seed=3)
    directions = draw(5, 4, 3, 2, 2, seed=4)

    def along(direction: Tensor) -> Tensor:
        return jvp(lambda x: norm(x, offset, scale), (x,), (direction,))[1]

    torch.testing.assert_close(torch.func.vmap(along)(directions), torch.stack([along(d) for d in directions]))


def test_all_orders_of_differentiation_agree() -> None:
    x, v = draw(4, 3, 2, 2), draw(4, 3, 2, 2, seed=1)
    offset, scale = draw(3, seed=2), draw(3, seed=3)

    def f(x: Tensor) -> Tensor:
        return norm(x, offset, scale).tanh().pow(3).sum()

    forward_over_reverse = jvp(grad(f), (x,), (v,))[1]
    reverse_over_forward = grad(lambda x: jvp(f, (x,), (v,))[1])(x)
    reverse_over_reverse = vjp(grad(f), x)[1](v)[0]
    torch.testing.assert_close(reverse_over_forward, forward_over_reverse)
    torch.testing.assert_close(reverse_over_reverse, forward_over_reverse)
