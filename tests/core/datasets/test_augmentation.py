"""Images that are changed at random as they are drawn."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from core.bilevel.randomness import stream
from core.datasets.augmentation import Augmentation, cropped_at_random, mirrored_at_random, recoloured_at_random

SIDE = 84
MANY = 400


def ramps(count: int) -> Tensor:
    """Images [count, 2, side, side] whose channels are the place of a pixel, in pixels: across, and down."""
    place = torch.arange(SIDE, dtype=torch.float64)
    return torch.stack([place.expand(SIDE, SIDE), place.unsqueeze(1).expand(SIDE, SIDE)]).expand(count, 2, SIDE, SIDE)


def noise(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=stream(0, "noise"))


def test_images_are_mirrored_by_a_coin() -> None:
    images = noise(40, 5, 1, 2, 3)
    found = mirrored_at_random(images, stream(0, "coins"))
    same, turned = ((found == other).flatten(2).all(2) for other in (images, images.flip(-1)))
    assert (same | turned).all()
    n = turned.numel()
    assert abs(float(turned.double().sum()) - n / 2) < 4 * (n / 4) ** 0.5


class TestCrops:
    @pytest.mark.parametrize("smallest", [0.1, 0.5, 0.7])
    def test_are_rectangles_within_the_image_of_the_areas_and_sides_that_are_asked_for(self, smallest: float) -> None:
        """Of a ramp across and one down a crop is a ramp, whose slopes are the sides of the crop."""
        found = cropped_at_random(ramps(MANY), stream(1, "crops"), smallest=smallest)
        inner = found[:, :, 5:-5, 5:-5]  # where no pixel lies between the border and the centre of the first one
        width, height = (inner[:, 0, 0].diff(dim=-1), inner[:, 1, :, 0].diff(dim=-1))
        for sides in (width, height):
            torch.testing.assert_close(sides, sides[:, :1].expand_as(sides), rtol=1e-9, atol=1e-9)
            assert sides.max() <= 1 + 1e-9
        width, height = width[:, 0], height[:, 0]
        # A side that would be longer than the image's is cut, so that an area may be smaller by as much.
        uncut = (width < 1 - 1e-9) & (height < 1 - 1e-9)
        area, aspect = (width * height)[uncut], (width / height)[uncut]
        if smallest < 0.2:  # those that are cut stay above the median
            lower = torch.tensor([0.25, 0.5], dtype=area.dtype)
            assert ((width * height).quantile(lower) - smallest - (1 - smallest) * lower).abs().max() < 0.1
        assert smallest - 1e-9 <= area.min() <= smallest + 0.1 * (1 - smallest)
        assert 3 / 4 - 1e-9 <= aspect.min() < 0.85
        assert 1.18 < aspect.max() <= 4 / 3 + 1e-9
        assert (width * height).min() >= smallest * 3 / 4

    def test_lie_anywhere_in_the_image(self) -> None:
        found = cropped_at_random(ramps(MANY), stream(2, "crops"), smallest=0.2)
        middle = found[:, :, SIDE // 2 - 1 : SIDE // 2 + 1, SIDE // 2 - 1 : SIDE // 2 + 1].mean((-2, -1)) / (SIDE - 1)
        edges = found.flatten(2)
        assert edges.min() == 0
        assert edges.max() == SIDE - 1
        for place in middle.T:
            assert abs(float(place.mean()) - 0.5) < 4 * float(place.std()) / math.sqrt(MANY)
            assert place.min() < 0.35
            assert place.max() > 0.65
        assert abs(float(torch.corrcoef(middle.T)[0, 1])) < 4 / math.sqrt(MANY)

    def test_have_the_image_s_own_pixels_at_its_border(self) -> None:
        """Not half of the nothing that lies beyond it."""
        even = torch.ones(MANY, 1, 8, 8, dtype=torch.float64)
        torch.testing.assert_close(cropped_at_random(even, stream(3, "crops"), smallest=0.3), even)

    def test_of_nearly_everything_are_nearly_the_image(self) -> None:
        images = ramps(20)
        found = cropped_at_random(images, stream(0, "crops"), smallest=0.9999)
        narrowest = math.sqrt(3 / 4)  # by the aspect alone
        assert float((found - images).abs().max()) <= (1 - narrowest) * SIDE
        assert cropped_at_random(noise(3, 3, 8, 8), stream(0), smallest=0.5).shape == (3, 3, 8, 8)


class TestColours:
    @given(st.floats(0.01, 1), st.integers(0, 1000))
    def test_stay_within_bounds_and_grey_stays_grey(self, strength: float, seed: int) -> None:
        grey = noise(6, 1, 8, 8).expand(6, 3, 8, 8)
        found = recoloured_at_random(grey, stream(seed, "colours"), strength=strength)
        torch.testing.assert_close(found, found[:, :1].expand_as(found))
        assert found.min() >= 0
        assert found.max() <= 1

    def test_brightness_is_all_that_changes_where_there_is_neither_contrast_nor_colour(self) -> None:
        even = torch.full((MANY, 3, 4, 4), 0.5, dtype=torch.float64)
        found = recoloured_at_random(even, stream(0, "colours"), strength=0.4)
        factors = found[:, 0, 0, 0] / 0.5
        torch.testing.assert_close(found, (0.5 * factors).view(-1, 1, 1, 1).expand_as(found))
        assert 0.6 <= factors.min() < 0.61
        assert 1.39 < factors.max() <= 1.4
        assert abs(float(factors.mean()) - 1) < 4 * 0.8 / math.sqrt(12 * MANY)

    def test_contrast_and_saturation_keep_the_mean_brightness(self) -> None:
        images = 0.45 + 0.1 * noise(MANY, 3, 6, 6)  # far from the bounds
        weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
        found = recoloured_at_random(images, stream(0, "colours"), strength=0.5)
        before, after = ((images * weights.view(3, 1, 1)).sum(1), (found * weights.view(3, 1, 1)).sum(1))
        brightness = after.mean((1, 2)) / before.mean((1, 2))
        assert 0.5 <= brightness.min() < 0.51
        assert 1.49 < brightness.max() <= 1.5
        contrast = after.std((1, 2)) / before.std((1, 2)) / brightness
        assert 0.5 <= contrast.min() < 0.51
        assert 1.49 < contrast.max() <= 1.5
        colour = (found[:, 0] - after).std((1, 2)) / (images[:, 0] - before).std((1, 2)) / brightness / contrast
        assert 0.5 <= colour.min() < 0.51
        assert 1.49 < colour.max() <= 1.5


class TestAll:
    def test_each_image_has_draws_of_its_own_and_the_same_seed_the_same(self) -> None:
        change, images = Augmentation(True, 0.5, 0.4), noise(1, 1, 3, 8, 8).expand(2, 5, 3, 8, 8)
        found, again = (change(images, stream(0, "augmentation")) for _ in range(2))
        assert torch.equal(found, again)
        flat = found.flatten(0, 1)
        assert all(not torch.equal(flat[i], flat[j]) for i in range(10) for j in range(i))

    @pytest.mark.parametrize("knobs", [{"mirrored": True}, {"smallest_crop": 0.5}, {"colours": 0.4}])
    def test_each_change_is_made_alone(self, knobs: dict[str, Any]) -> None:
        images = noise(9, 3, 8, 8)
        alone = {
            "mirrored": mirrored_at_random,
            "smallest_crop": partial(cropped_at_random, smallest=0.5),
            "colours": partial(recoloured_at_random, strength=0.4),
        }
        (name,) = knobs
        found = Augmentation(**knobs)(images, stream(0, "one"))
        assert torch.equal(found, alone[name](images, stream(0, "one")))
        assert not torch.equal(found, images)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_the_draws_are_the_same_in_every_format(self, dtype: torch.dtype) -> None:
        change, images = Augmentation(True, 0.5, 0.4), noise(20, 3, 8, 8)
        found, double = (change(images.to(each), stream(0, "formats")) for each in (dtype, torch.float64))
        assert found.dtype == dtype
        apart = (found.double() - double).abs().amax((1, 2, 3))
        assert float(apart.median()) < (1e-5 if dtype == torch.float32 else 0.1)

    def test_nothing_that_is_asked_for_is_nothing_that_changes(self) -> None:
        images = noise(2, 3, 8, 8)
        assert torch.equal(Augmentation()(images, stream(0)), images)
