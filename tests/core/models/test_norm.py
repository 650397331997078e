import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, jvp, vjp

from core.models.image_sets import image_sets
from core.models.norm import EPSILON, Statistics, normalize, normalize_sets


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def both(x: Tensor, offset: Tensor, scale: Tensor | None, groups: int = 2) -> tuple[Tensor, Statistics]:
    """Of images [N, channels, height, width], `groups` sets of the same size."""
    sets = image_sets((groups, len(x) // groups), device=x.device, dtype=x.dtype)
    y, values = normalize_sets(x.movedim(1, -1).flatten(1, 2), sets, offset, scale)
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
    y, values = normalize_sets(x, sets, offset, scale)
    parts = [1, 1, 3, 3]
    fused = [F.batch_norm(part.mT, None, None, scale, offset, True, 0.0, EPSILON).mT for part in x.split(parts)]
    torch.testing.assert_close(y, torch.cat(fused))
    torch.testing.assert_close(values.mean, torch.stack([part.mean((0, 1)) for part in x.split(parts)]))


def test_given_statistics_serve_all_groups() -> None:
    x, offset, scale = draw(6, 3, 4, 5), draw(3, seed=1), draw(3, seed=2)
    mean, variance = draw(3, seed=3), draw(3, seed=4).square()
    fused = F.batch_norm(x, mean, variance, scale, offset, training=False, eps=EPSILON)
    pixels = x.movedim(1, -1).flatten(1, 2)
    found = normalize(pixels, Statistics(mean[None], variance[None]), offset, scale)
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
