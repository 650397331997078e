"""Copies of a network, each on its own images, against one network at a time; and their second derivatives."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, jvp, vjp

from core.bilevel import trees
from core.bilevel.randomness import stream
from core.models.conv4 import conv4
from core.models.convolutions import convolve_copies
from core.models.image_sets import image_sets
from core.models.mlp import mlp_representation
from core.models.norm import normalize
from core.models.residual import residual
from tests.core.models.test_residual import plainly

MODELS = {
    "strides": conv4(3, dtype=torch.float64),
    "max-pools": conv4(3, downsample="max_pool", dtype=torch.float64),
    "wide": conv4(6, dtype=torch.float64),
    "no scale": conv4(2, norm_scale=False, dtype=torch.float64),
    "residual": residual((2, 3), hidden=4, features=3, channels=1, dtype=torch.float64),
    "mlp": mlp_representation(28 * 28, (4, 3), dtype=torch.float64),
}
COPIES, SIZE = 3, 4


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def images(seed: int = 0) -> Tensor:
    return torch.rand(COPIES, SIZE, 1, 28, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def several(model: Any) -> Any:
    """Parameters of different copies, offsets and scales moved from 0 and 1, some of these below 0."""
    start = model.init(stream(0, "copies"))
    return trees.map_leaves(lambda leaf: leaf + draw(COPIES, *leaf.shape, seed=leaf.numel()), start)


def one(tree: Any, copy: int) -> Any:
    return trees.map_leaves(lambda leaf: leaf[copy], tree)


@pytest.mark.parametrize("name", MODELS)
def test_each_copy_is_the_network_on_its_images(name: str) -> None:
    model, x = MODELS[name], images()
    params, own = several(model), image_sets((1, SIZE), device=x.device, dtype=x.dtype)
    found, _ = model.copies(params, x, None)
    loop = torch.stack([model.apply(one(params, i), x[i], own) for i in range(COPIES)])
    torch.testing.assert_close(found, loop, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_with_given_statistics(name: str) -> None:
    model, support, query = MODELS[name], images(), images(1)
    params = several(model)
    _, statistics = model.copies(params, support, None)
    found, used = model.copies(params, query, statistics)
    loop = [
        model.apply_with(one(params, i), query[i], model.statistics(one(params, i), support[i])) for i in range(COPIES)
    ]
    torch.testing.assert_close(found, torch.stack(loop), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(used, statistics)


@pytest.mark.parametrize("channels", [2, 6])  # by patches; in groups
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_with_a_weight_a_copy(stride: int, channels: int) -> None:
    x, weight = draw(6, channels, 5, 7), draw(3, 4, channels, 3, 3, seed=1)
    found = convolve_copies(x.movedim(1, -1), weight, stride=stride).movedim(-1, 1)
    loop = [F.conv2d(x[2 * i : 2 * i + 2], weight[i], stride=stride, padding=1) for i in range(3)]
    torch.testing.assert_close(found, torch.cat(loop))


@pytest.mark.parametrize("channels", [2, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_derivatives_of_these_convolutions(stride: int, channels: int) -> None:
    def convolve(x: Tensor, weight: Tensor) -> Tensor:
        return convolve_copies(x, weight, stride=stride)

    inputs = draw(2, 3, 2, channels).requires_grad_(), draw(2, 1, channels, 3, 3, seed=1).requires_grad_()
    assert gradcheck(convolve, inputs, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(convolve, inputs, check_fwd_over_rev=True, check_rev_over_rev=True)


def norm(x: Tensor, offset: Tensor, scale: Tensor) -> Tensor:
    sets = image_sets((len(offset), len(x) // len(offset)), device=x.device, dtype=x.dtype)
    return normalize(x, sets, offset, scale)[0]


def test_derivatives_of_a_norm_whose_sets_have_offsets_and_scales_of_their_own() -> None:
    inputs = tuple(leaf.requires_grad_() for leaf in (draw(6, 2, 2), draw(3, 2, seed=1), draw(3, 2, seed=2)))
    assert gradcheck(norm, inputs, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(norm, inputs, check_fwd_over_rev=True, check_rev_over_rev=True)


@pytest.mark.parametrize("name", MODELS)
def test_second_derivatives_are_those_of_one_network_at_a_time(name: str) -> None:
    """vjp(grad) and jvp(grad), which inner steps take, and that of a plain formula without the hand-written adjoint."""
    model, x = MODELS[name], images()
    params = several(model)
    v = trees.map_leaves(lambda leaf: draw(*leaf.shape, seed=leaf.numel() + 1), params)

    def loss(params: Any) -> Tensor:
        return model.copies(params, x, None)[0].tanh().square().sum()

    def plain(params: Any) -> Tensor:
        return torch.stack([written_out(name, one(params, i), x[i]) for i in range(COPIES)]).tanh().square().sum()

    expected = vjp(grad(plain), params)[1](v)[0]
    for found in (vjp(grad(loss), params)[1](v)[0], jvp(grad(loss), (params,), (v,))[1]):
        assert trees.norm(trees.subtract(found, expected)) < 1e-9 * trees.norm(expected)


def written_out(name: str, params: Any, x: Tensor) -> Tensor:
    """Features [n, F] by torch's convolutions and the formula of the norm."""
    if name == "residual":
        return plainly(params, x)
    if name == "mlp":
        for layer in params:
            x = torch.tanh(x.flatten(1) @ layer["weight"] + layer["bias"])
        return x
    pools = name == "max-pools"
    for layer in params:
        x = F.conv2d(x, layer["weight"], stride=1 if pools else 2, padding=1)
        mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
        x = (x - mean) / (variance + 1e-3).sqrt() * layer.get("scale", torch.ones(x.shape[1], dtype=x.dtype))[
            :, None, None
        ] + layer["offset"][:, None, None]
        x = F.max_pool2d(x.relu(), 2) if pools else x.relu()
    return x.movedim(1, -1).flatten(1)
