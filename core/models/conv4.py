"""Four blocks of 3x3 convolution, norm and ReLU (Franceschi et al. 2018, section 5.2)."""

from collections.abc import Iterator
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from core.bilevel.problem import Tree
from core.models.initialization import glorot
from core.models.model import Representation
from core.models.norm import Statistics, normalize, normalize_groups


def conv4(
    filters: int = 64,
    *,
    channels: int = 1,
    downsample: Literal["stride", "max_pool"] = "stride",
    norm_scale: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Representation:
    """The representation h: images [G, n, channels, height, width] -> features [G, n, F].

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

    def block(
        params: dict[str, Tensor], x: Tensor, values: Statistics | None, groups: int
    ) -> tuple[Tensor, Statistics]:
        x = F.conv2d(x, params["weight"], stride=2 if downsample == "stride" else 1, padding=1)
        offset, scale = params["offset"], params.get("scale")
        if values is None:
            x, values = normalize_groups(x, groups, offset, scale)
        else:
            x = normalize(x, values, offset, scale)
        x = torch.relu(x)
        return (F.max_pool2d(x, 2) if downsample == "max_pool" else x), values

    def walk(params: Tree, x: Tensor, given: "Tree | None") -> tuple[Tensor, list[Statistics]]:
        groups, images = x.shape[:2]
        features, used = x.flatten(0, 1), []
        for layer, values in _layers(params, given):
            features, values = block(layer, features, values, groups)
            used.append(values)
        return features.reshape(groups, images, -1), used

    return Representation(
        init,
        lambda params, x: walk(params, x, None)[0],
        lambda params, x, given: walk(params, x, given)[0],
        lambda params, x: cast(Tree, walk(params, x.unsqueeze(0), None)[1]),
    )


def _block(inputs: int, filters: int, norm_scale: bool, generator: Generator, dtype: torch.dtype) -> Tree:
    params: dict[str, Tree] = {
        "weight": glorot((filters, inputs, 3, 3), 9 * inputs, 9 * filters, generator, dtype),
        "offset": torch.zeros(filters, dtype=dtype),
    }
    return params | {"scale": torch.ones(filters, dtype=dtype)} if norm_scale else params


def _layers(params: Tree, given: "Tree | None") -> Iterator[tuple[dict[str, Tensor], Statistics | None]]:
    layers = cast(list[dict[str, Tensor]], params)
    values = cast(list[Statistics | None], given) if given is not None else [None] * len(layers)
    return zip(layers, values, strict=True)
