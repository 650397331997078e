"""Four blocks of 3x3 convolution, norm and ReLU (Franceschi et al. 2018, section 5.2)."""

from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from core.bilevel.problem import Tree
from core.models.convolutions import convolve_copies
from core.models.image_sets import ImageSets, channels_last, image_sets, one_set
from core.models.initialization import glorot
from core.models.model import Representation
from core.models.norm import Statistics, normalize
from core.models.pool import pooled

BLOCKS = 4

Layer = dict[str, Tensor]


def conv4(
    filters: int = 64,
    *,
    channels: int = 1,
    downsample: Literal["stride", "max_pool"] = "stride",
    norm_scale: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Representation:
    """The representation h: images [N, channels, height, width] -> features [N, F].

    Args:
        filters: channels of each block.
        channels: channels of the images.
        downsample: `stride`: convolutions of stride 2; `max_pool`: stride 1, then a 2x2 max-pool.
        norm_scale: whether the norms have a scale beside their offset.
        dtype: type of the parameters.

    Parameters: a list of {"weight": [filters, inputs, 3, 3], "offset": [filters], "scale": [filters]}, weights
    Glorot, offsets 0, scales 1. Convolutions have no bias, which a norm would take away.
    """

    def init(generator: Generator) -> Tree:
        return [
            _block(inputs, filters, norm_scale, generator, dtype) for inputs in (channels, *[filters] * (BLOCKS - 1))
        ]

    pools = downsample == "max_pool"
    stride = 1 if pools else 2

    def normed(
        layer: Layer, x: Tensor, sets: ImageSets, given: Statistics | None, *, twice: bool = False
    ) -> tuple[Tensor, Statistics]:
        """The rest of a block, from its convolution [N, height, width, filters] on; and the norm's statistics."""
        if pools:  # before the norm, which increases: the same, and norm and ReLU see a quarter of the pixels
            x, given = pooled(x, sets, given, twice=twice)
        y, used = normalize(x.flatten(1, 2), sets, layer["offset"], layer.get("scale"), given, leak=0.0)
        return y.view(x.shape), used

    def layers(params: Tree) -> list[Layer]:
        found = cast(list[Layer], params)
        return [_increasing(layer) for layer in found] if pools else found

    def walk(params: Tree, x: Tensor, sets: ImageSets, given: "Tree | None") -> tuple[Tensor, Tree]:
        x, used = channels_last(x), []
        for layer, values in zip(layers(params), _each(given), strict=True):
            convolved = F.conv2d(x, layer["weight"], stride=stride, padding=1)
            y, found = normed(layer, convolved.movedim(1, -1), sets, values)
            x = y.movedim(-1, 1)
            used.append(found)
        return x.movedim(1, -1).flatten(1), cast(Tree, used)

    def copies(params: Tree, x: Tensor, given: "Tree | None") -> tuple[Tensor, Tree]:
        sets = image_sets((x.shape[0], x.shape[1]), device=x.device, dtype=x.dtype)
        pixels, used = x.flatten(0, 1).movedim(1, -1), []  # [N, height, width, channels]
        for layer, values in zip(layers(params), _each(given), strict=True):
            convolved = convolve_copies(pixels, layer["weight"], stride=stride)
            pixels, found = normed(layer, convolved, sets, values, twice=True)
            used.append(found)
        return pixels.reshape(*x.shape[:2], -1), cast(Tree, used)

    return Representation(
        init,
        lambda params, x, sets: walk(params, x, sets, None)[0],
        lambda params, x, given: walk(params, x, one_set(x), given)[0],
        lambda params, x: walk(params, x, one_set(x), None)[1],
        copies,
    )


def _each(given: "Tree | None") -> Sequence[Statistics | None]:
    """The statistics of each block, or None for each."""
    return [None] * BLOCKS if given is None else cast(list[Statistics], given)


def _increasing(layer: Layer) -> Layer:
    """The same block where no scale is negative: it is the convolution that changes its sign.

    Statistics are then those of the convolution whose sign has changed: they serve the parameters they were taken with.
    """
    if "scale" not in layer:
        return layer
    negative, weight, scale = layer["scale"] < 0, layer["weight"], layer["scale"]
    return {
        **layer,
        "weight": torch.where(negative[..., None, None, None], -weight, weight),
        "scale": torch.where(negative, -scale, scale),
    }


def _block(inputs: int, filters: int, norm_scale: bool, generator: Generator, dtype: torch.dtype) -> Tree:
    params: dict[str, Tree] = {
        "weight": glorot((filters, inputs, 3, 3), 9 * inputs, 9 * filters, generator, dtype),
        "offset": torch.zeros(filters, dtype=dtype),
    }
    return params | {"scale": torch.ones(filters, dtype=dtype)} if norm_scale else params
