"""Images that are changed at random whenever they are drawn, so that meta-training never sees the same one twice."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

ASPECT = 4 / 3
"""Largest ratio of the sides of a crop, either way round."""
GREY = (0.299, 0.587, 0.114)
"""What red, green and blue add to the brightness of a pixel (ITU-R BT.601)."""


class Augmentation(NamedTuple):
    """What is done to images [..., channels, side, side] with pixels in [0, 1], to each by draws of its own."""

    mirrored: bool = False
    """With probability 1/2."""
    smallest_crop: float = 1.0
    """The smallest area that is drawn for a crop, of the image's; 1: the whole image."""
    colours: float = 0.0
    """How far brightness, contrast and saturation go, each as a factor that is uniform in [1 - it, 1 + it]."""

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """Draws on the CPU and in float32, which makes them the same on every device and in every format."""
        images = mirrored_at_random(images, generator) if self.mirrored else images
        if self.smallest_crop < 1:
            images = cropped_at_random(images, generator, smallest=self.smallest_crop)
        return recoloured_at_random(images, generator, strength=self.colours) if self.colours else images


def mirrored_at_random(images: Tensor, generator: Generator) -> Tensor:
    """Images [..., channels, side, side], each replaced by its mirror image with probability 1/2."""
    chosen = (torch.rand(images.shape[:-3], generator=generator) < 0.5).to(images.device, non_blocking=True)
    return torch.where(chosen[..., None, None, None], images.flip(-1), images)


def cropped_at_random(images: Tensor, generator: Generator, *, smallest: float) -> Tensor:
    """Images [..., channels, side, side], each replaced by a rectangle of it, scaled to its size (Szegedy et al. 2015).

    The area is uniform in [smallest, 1] of the image's, the logarithm of width over height uniform between those of
    3/4 and 4/3; then sides longer than the image's are cut to it, by which crops above 3/4 of the area may become
    smaller. The place is uniform among those within the image. Pixels between pixels are interpolated bilinearly.
    """
    pixels = images.flatten(0, -4)
    area, aspect, across, down = torch.rand(4, len(pixels), generator=generator).to(images.dtype)
    area, half = smallest + (1 - smallest) * area, (2 * aspect - 1) * math.log(ASPECT) / 2
    # In units of half a side, as `grid_sample` has them: the image is [-1, 1].
    width, height = (area.sqrt() * half.exp()).clamp(max=1), (area.sqrt() * (-half).exp()).clamp(max=1)
    places = torch.stack([(1 - width) * (2 * across - 1), width, (1 - height) * (2 * down - 1), height])
    x, width, y, height = places.to(images.device, non_blocking=True)[..., None]
    columns, rows = (x + width * _centres(pixels.shape[-1], x)), (y + height * _centres(pixels.shape[-2], y))
    size = (-1, *pixels.shape[-2:])
    grid = torch.stack([columns.unsqueeze(1).expand(size), rows.unsqueeze(2).expand(size)], -1)
    cropped: Tensor = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return cropped.view(images.shape)


def _centres(count: int, like: Tensor) -> Tensor:
    """Of so many pixels side by side, from -1 to 1."""
    return (2 * torch.arange(count, dtype=like.dtype, device=like.device) + 1) / count - 1


def recoloured_at_random(images: Tensor, generator: Generator, *, strength: float) -> Tensor:
    """Images [..., 3, side, side] in [0, 1] with brightness, contrast and saturation each times a factor of their own.

    The factors are uniform in [1 - strength, 1 + strength]: all pixels times the first; their distances from the
    image's mean brightness times the second, and from their own brightness times the third. What leaves [0, 1] is cut
    off at the end.
    """
    factors = 1 + strength * (2 * torch.rand(3, *images.shape[:-3], generator=generator).to(images.dtype) - 1)
    brightness, contrast, saturation = factors[..., None, None, None].to(images.device, non_blocking=True)
    images = images * brightness
    grey = _grey(images)
    mean = grey.mean((-2, -1), keepdim=True)
    images, grey = mean + contrast * (images - mean), mean + contrast * (grey - mean)
    changed: Tensor = grey + saturation * (images - grey)
    return changed.clamp_(0, 1)


def _grey(images: Tensor) -> Tensor:
    """The brightness of pixels [..., 1, side, side]."""
    red, green, blue = (weight * images[..., number : number + 1, :, :] for number, weight in enumerate(GREY))
    return red + green + blue
