import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import grad, jvp
from torch.utils._pytree import tree_leaves, tree_map

from core.bilevel.randomness import stream
from core.models.conv4 import conv4
from core.models.image_sets import ImageSets, image_sets
from core.models.norm import EPSILON
from core.spec.images import feature_size, representation_size
from core.spec.models import Conv4

VARIANTS = [
    Conv4(),
    Conv4(filters=8, norm_scale=False),
    Conv4(filters=32, downsample="max_pool"),
]


def build(spec: Conv4, dtype: torch.dtype = torch.float64) -> tuple[Any, Any]:
    model = conv4(spec.filters, downsample=spec.downsample, norm_scale=spec.norm_scale, dtype=dtype)
    return model, model.init(stream(0, "init"))


def images(*sizes: int, side: int = 28, seed: int = 0) -> Tensor:
    return torch.rand(*sizes, 1, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def sets(count: int, size: int) -> ImageSets:
    return image_sets((count, size), device=torch.device("cpu"), dtype=torch.float64)


@pytest.mark.parametrize("spec", VARIANTS, ids=str)
def test_sizes_are_those_that_specs_are_checked_against(spec: Conv4) -> None:
    model, params = build(spec)
    assert sum(leaf.numel() for leaf in tree_leaves(params)) == representation_size(spec)
    assert model.apply(params, images(6), sets(2, 3)).shape == (6, feature_size(spec))


def test_the_papers_network_has_256_features_and_800_with_max_pool_of_84x84_images() -> None:
    model, params = build(Conv4())
    assert model.apply(params, images(2), sets(1, 2)).shape == (2, 256)
    colour = conv4(32, channels=3, downsample="max_pool", norm_scale=False)
    params = colour.init(stream(0, "init"))
    assert sum(leaf.numel() for leaf in tree_leaves(params)) == 28_640
    assert colour.apply(params, torch.rand(2, 3, 84, 84), sets(1, 2)).shape == (2, 800)


@pytest.mark.parametrize("spec", VARIANTS, ids=str)
def test_sets_do_not_see_each_other(spec: Conv4) -> None:
    model, params = build(spec)
    x = images(3 * 4 + 2 * 1)
    together = image_sets((3, 4), (2, 1), device=x.device, dtype=x.dtype)
    loop = torch.cat([model.apply(params, part, sets(1, len(part))) for part in x.split([4, 4, 4, 1, 1])])
    torch.testing.assert_close(model.apply(params, x, together), loop, rtol=1e-9, atol=1e-9)


def test_images_of_a_set_do_see_each_other() -> None:
    model, params = build(Conv4(filters=4))
    x = images(4)
    assert (model.apply(params, x, sets(1, 4))[:2] - model.apply(params, x[:2], sets(1, 2))).abs().max() > 1e-3


@pytest.mark.parametrize("downsample", ["stride", "max_pool"])
def test_a_set_agrees_with_the_library_layers(downsample: str) -> None:
    model, params = build(Conv4(filters=6, downsample=downsample))  # type: ignore[arg-type]
    for number, layer in enumerate(params):  # of both signs
        layer["scale"] = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(number))
    x = images(5)
    expected = x
    for layer in params:
        expected = F.conv2d(expected, layer["weight"], stride=2 if downsample == "stride" else 1, padding=1)
        expected = F.batch_norm(expected, None, None, layer["scale"], layer["offset"], training=True, eps=EPSILON)
        expected = F.relu(expected)
        expected = F.max_pool2d(expected, 2) if downsample == "max_pool" else expected
    expected = expected.movedim(1, -1).flatten(1)
    torch.testing.assert_close(model.apply(params, x, sets(1, 5)), expected)
    torch.testing.assert_close(model.apply_with(params, x, model.statistics(params, x)), expected)


def test_population_statistics_of_a_set_give_its_own_features() -> None:
    model, params = build(Conv4(filters=8))
    x = images(12)
    given = model.statistics(params, x)
    torch.testing.assert_close(model.apply_with(params, x, given), model.apply(params, x, sets(1, 12)))


def test_with_given_statistics_an_image_does_not_see_the_others() -> None:
    model, params = build(Conv4(filters=8))
    given = model.statistics(params, images(50, seed=1))
    x = images(6)
    features = model.apply_with(params, x, given)
    torch.testing.assert_close(features[:1], model.apply_with(params, x[:1], given))
    assert features.shape == (6, 32)


def test_weights_are_glorot_and_every_precision_starts_alike() -> None:
    _, params = build(Conv4())
    weight = params[1]["weight"]
    bound = math.sqrt(6 / (9 * 64 + 9 * 64))
    assert weight.abs().max() <= bound
    assert weight.std() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert all((layer["offset"] == 0).all() and (layer["scale"] == 1).all() for layer in params)
    _, single = build(Conv4(), torch.float32)
    for one, other in zip(tree_leaves(params), tree_leaves(single), strict=True):
        assert other.dtype == torch.float32
        torch.testing.assert_close(one.float(), other)


def test_without_scale_there_are_offsets_only() -> None:
    _, params = build(Conv4(norm_scale=False))
    assert all(set(layer) == {"weight", "offset"} for layer in params)


@pytest.mark.parametrize("downsample", ["stride", "max_pool"])
def test_padding_is_in_no_set(downsample: str) -> None:
    model, params = build(Conv4(filters=4, downsample=downsample))  # type: ignore[arg-type]
    x = images(6)
    present = torch.tensor([True, True, False, True, True, False])
    padded = image_sets((2, 3), device=x.device, dtype=x.dtype, present=present)
    found = model.apply(params, x, padded)
    torch.testing.assert_close(found[present], model.apply(params, x[present], sets(2, 2)))
    assert (found[~present] == 0).all()


@pytest.mark.parametrize("downsample", ["stride", "max_pool"])
def test_hessian_products_agree_in_both_directions(downsample: str) -> None:
    model, params = build(Conv4(filters=3, downsample=downsample))  # type: ignore[arg-type]
    for number, layer in enumerate(params):
        layer["scale"] = torch.tensor([1.0, -0.7, 0.4 + number], dtype=torch.float64)
    x, direction = images(4, side=16), tree_map(torch.ones_like, params)

    def f(params: Any) -> Tensor:
        return model.apply(params, x, sets(2, 2)).pow(2).sum()

    forward_over_reverse = jvp(grad(f), (params,), (direction,))[1]
    reverse_over_forward = grad(lambda params: jvp(f, (params,), (direction,))[1])(params)
    for one, other in zip(tree_leaves(forward_over_reverse), tree_leaves(reverse_over_forward), strict=True):
        torch.testing.assert_close(one, other)
