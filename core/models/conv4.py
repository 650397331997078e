"""Four blocks of 3x3 convolution, norm and ReLU (Franceschi et al. 2018, section 5.2)."""

from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from core.bilevel.problem import Tree
from core.models.convolutions import convolve_copies
from core.models.image_sets import ImageSets, channels_last, image_sets
from core.models.initialization import glorot
from core.models.model import Representation
from core.models.norm import Statistics, normalize, normalize_copies, normalize_sets


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
        return [_block(inputs, filters, norm_scale, generator, dtype) for inputs in (channels, *[filters] * 3)]

    def block(params: dict[str, Tensor], x: Tensor, sets: ImageSets | Statistics) -> tuple[Tensor, Statistics]:
        x = F.conv2d(x, params["weight"], stride=2 if downsample == "stride" else 1, padding=1)
        pixels, affine = x.movedim(1, -1), (params["offset"], params.get("scale"))  # [N, height, width, filters]
        if isinstance(sets, Statistics):
            y, used = normalize(pixels.flatten(1, 2), sets, *affine), sets
        else:
            y, used = normalize_sets(pixels.flatten(1, 2), sets, *affine)
        x = torch.relu_(y).view(pixels.shape).movedim(-1, 1)
        return (F.max_pool2d(x, 2) if downsample == "max_pool" else x), used

    def walk(params: Tree, x: Tensor, sets: "ImageSets | list[Statistics]") -> tuple[Tensor, list[Statistics]]:
        features, used = channels_last(x), []
        for number, layer in enumerate(cast(list[dict[str, Tensor]], params)):
            features, values = block(layer, features, sets if isinstance(sets, ImageSets) else sets[number])
            used.append(values)
        return features.movedim(1, -1).flatten(1), used

    def copies(params: Tree, x: Tensor, given: "Tree | None") -> tuple[Tensor, Tree]:
        sets = image_sets((x.shape[0], x.shape[1]), device=x.device, dtype=x.dtype)
        features, used = x.flatten(0, 1).movedim(1, -1), []  # [N, height, width, channels]
        for number, layer in enumerate(cast(list[dict[str, Tensor]], params)):
            pixels = convolve_copies(features, layer["weight"], stride=2 if downsample == "stride" else 1)
            affine, flat = (layer["offset"], layer.get("scale")), pixels.flatten(1, 2)
            own = None if given is None else cast(list[Statistics], given)[number]
            y, values = normalize_copies(flat, sets, *affine, own)
            used.append(values)
            features = torch.relu_(y).view(pixels.shape)
            if downsample == "max_pool":
                features = F.max_pool2d(features.movedim(-1, 1), 2).movedim(1, -1)
        return features.reshape(*x.shape[:2], -1), cast(Tree, used)

    def statistics(params: Tree, x: Tensor) -> Tree:
        dtype = torch.promote_types(x.dtype, torch.float32)
        return cast(Tree, walk(params, x, image_sets((1, len(x)), device=x.device, dtype=dtype))[1])

    return Representation(
        init,
        lambda params, x, sets: walk(params, x, sets)[0],
        lambda params, x, given: walk(params, x, cast(list[Statistics], given))[0],
        statistics,
        copies,
    )


def _block(inputs: int, filters: int, norm_scale: bool, generator: Generator, dtype: torch.dtype) -> Tree:
    params: dict[str, Tree] = {
        "weight": glorot((filters, inputs, 3, 3), 9 * inputs, 9 * filters, generator, dtype),
        "offset": torch.zeros(filters, dtype=dtype),
    }
    return params | {"scale": torch.ones(filters, dtype=dtype)} if norm_scale else params
