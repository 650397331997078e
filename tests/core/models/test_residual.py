from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import grad, jvp
from torch.utils._pytree import tree_leaves, tree_map

from core.bilevel.randomness import stream
from core.models.image_sets import ImageSets, image_sets
from core.models.norm import EPSILON
from core.models.residual import residual
from core.spec.images import feature_size, representation_size
from core.spec.models import Residual

SMALL = Residual(blocks=(3, 4), hidden=6, features=5)


def build(spec: Residual = SMALL, channels: int = 2, dtype: torch.dtype = torch.float64) -> tuple[Any, Any]:
    model = residual(spec.blocks, hidden=spec.hidden, features=spec.features, channels=channels, dtype=dtype)
    params = model.init(stream(0, "init"))
    generator = torch.Generator().manual_seed(1)
    return model, tree_map(lambda leaf: leaf + 0.1 * torch.rand(leaf.shape, generator=generator).to(leaf), params)


def images(count: int, side: int = 11, channels: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, side, side, dtype=torch.float64, generator=generator)


def sets(count: int, size: int) -> ImageSets:
    return image_sets((count, size), device=torch.device("cpu"), dtype=torch.float64)


def plainly(params: Any, x: Tensor) -> Tensor:
    """One set of images through the library's layers; the average pool is over windows of what is left, VALID."""
    for block in params["blocks"]:
        y = x
        for layer in block["main"]:
            y = F.conv2d(y, layer["weight"], padding=1)
            mean, variance = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), correction=0, keepdim=True)
            y = (y - mean) / (variance + EPSILON).sqrt() + layer["offset"][:, None, None]
            y = F.leaky_relu(y, 0.1)
        skip = F.conv2d(x, block["skip"]["weight"].mT[:, :, None, None], block["skip"]["bias"])
        added = y + skip
        odd = added.shape[-1] % 2
        x = F.max_pool2d(F.pad(added, (0, odd, 0, odd), value=-torch.inf), 2)  # SAME
    x = F.relu(F.conv2d(x, params["hidden"]["weight"].mT[:, :, None, None], params["hidden"]["bias"]))
    x = F.avg_pool2d(x, x.shape[-1])
    return F.relu(F.conv2d(x, params["features"]["weight"].mT[:, :, None, None], params["features"]["bias"])).flatten(1)


def test_the_papers_network_has_512_features_and_its_parameters() -> None:
    spec = Residual()
    model, params = build(spec, channels=3, dtype=torch.float32)
    found = {name: sum(leaf.numel() for leaf in tree_leaves(params[name])) for name in ("hidden", "features")}
    skips = sum(leaf.numel() for block in params["blocks"] for leaf in tree_leaves(block["skip"]))
    offsets = sum(layer["offset"].numel() for block in params["blocks"] for layer in block["main"])
    weights = sum(layer["weight"].numel() for block in params["blocks"] for layer in block["main"])
    assert skips == 51_936
    assert offsets == 3 * (64 + 96 + 128 + 256)
    assert weights + sum(found.values()) == 3_752_128
    assert representation_size(spec, channels=3, side=84) == 3_752_128 + 51_936 + offsets
    x = torch.rand(2, 3, 84, 84)
    made = model.apply(params, x, image_sets((1, 2), device=x.device, dtype=x.dtype))
    assert made.shape == (2, feature_size(spec, 84)) == (2, 512)


@pytest.mark.parametrize("side", [8, 11, 13])
def test_a_set_agrees_with_the_library_layers(side: int) -> None:
    model, params = build()
    x = images(4, side)
    torch.testing.assert_close(model.apply(params, x, sets(1, 4)), plainly(params, x), rtol=1e-10, atol=1e-10)


def test_derivatives_agree_with_the_library_layers() -> None:
    model, params = build()
    x, weights = images(4), torch.rand(4, 5, dtype=torch.float64)
    found = grad(lambda params: (model.apply(params, x, sets(1, 4)) * weights).sum())(params)
    expected = grad(lambda params: (plainly(params, x) * weights).sum())(params)
    for one, other in zip(tree_leaves(found), tree_leaves(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)
        assert one.abs().max() > 0


def test_sets_do_not_see_each_other() -> None:
    model, params = build()
    x = images(2 * 3 + 2 * 2)
    together = image_sets((2, 3), (2, 2), device=x.device, dtype=x.dtype)
    loop = torch.cat([plainly(params, part) for part in x.split([3, 3, 2, 2])])
    torch.testing.assert_close(model.apply(params, x, together), loop, rtol=1e-9, atol=1e-9)


def test_population_statistics_of_a_set_give_its_own_features() -> None:
    model, params = build()
    x = images(6)
    given = model.statistics(params, x)
    assert len(given) == 3 * len(SMALL.blocks)
    torch.testing.assert_close(model.apply_with(params, x, given), model.apply(params, x, sets(1, 6)))
    torch.testing.assert_close(model.apply_with(params, x[:1], given), model.apply_with(params, x, given)[:1])


def test_hessian_products_agree_in_both_directions() -> None:
    model, params = build()
    x, direction = images(4), tree_map(torch.ones_like, params)

    def f(params: Any) -> Tensor:
        return model.apply(params, x, sets(2, 2)).pow(2).sum()

    forward_over_reverse = jvp(grad(f), (params,), (direction,))[1]
    reverse_over_forward = grad(lambda params: jvp(f, (params,), (direction,))[1])(params)
    reverse_over_reverse = grad(lambda params: _along(grad(f)(params), direction))(params)
    plain = grad(lambda params: _along(grad(lambda p: _squares(p, x))(params), direction))(params)
    for others in (reverse_over_forward, reverse_over_reverse, plain):
        for one, other in zip(tree_leaves(forward_over_reverse), tree_leaves(others), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)


def _along(gradient: Any, direction: Any) -> Tensor:
    pairs = zip(tree_leaves(gradient), tree_leaves(direction), strict=True)
    return torch.stack([(one * other).sum() for one, other in pairs]).sum()


def _squares(params: Any, x: Tensor) -> Tensor:
    return torch.cat([plainly(params, part) for part in x.split(2)]).pow(2).sum()


def test_bfloat16_is_near_float64() -> None:
    spec = Residual(blocks=(8, 16), hidden=32, features=16)
    model, params = build(spec, channels=3)
    x = images(12, 20, channels=3)
    exact = model.apply(params, x, sets(2, 6))
    short = tree_map(lambda leaf: leaf.bfloat16(), params)
    single = image_sets((2, 6), device=x.device, dtype=torch.float32)
    found = model.apply(short, x.bfloat16(), single)
    assert found.dtype == torch.bfloat16
    assert (found.double() - exact).norm() < 0.05 * exact.norm()


def test_every_precision_starts_alike() -> None:
    double, single = (
        residual(SMALL.blocks, hidden=6, features=5, dtype=dtype).init(stream(0, "init"))
        for dtype in (torch.float64, torch.float32)
    )
    for one, other in zip(tree_leaves(double), tree_leaves(single), strict=True):
        assert other.dtype == torch.float32
        torch.testing.assert_close(one.float(), other)
