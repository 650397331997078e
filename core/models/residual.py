"""Residual blocks, then two 1x1 convolutions (Mishra et al. 2018; RN of Franceschi et al. 2018, section 5.2).

A block: y = max-pool(skip(x) + main(x)), skip a 1x1 convolution with bias, main three times 3x3 convolution, norm,
leaky ReLU of slope 0.1; the 2x2 max-pool rounds up. After the blocks: 1x1 convolution, ReLU, mean over all pixels
(6x6 of them for images of 84x84), 1x1 convolution, ReLU.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from core.bilevel.problem import Tree
from core.models.convolutions import convolve_copies
from core.models.image_sets import ImageSets, channels_last, image_sets, one_set
from core.models.initialization import glorot
from core.models.linear import affine
from core.models.model import Representation
from core.models.norm import Statistics, normalize
from core.models.pool import largest

SLOPE = 0.1
"""Of the leaky ReLU below zero."""
CONVOLUTIONS = 3
"""Of the main path of a block."""

Layer = dict[str, Tensor]


def residual(
    blocks: Sequence[int] = (64, 96, 128, 256),
    *,
    hidden: int = 2048,
    features: int = 512,
    channels: int = 3,
    dtype: torch.dtype = torch.float32,
) -> Representation:
    """The representation h: images [N, channels, height, width] -> features [N, features].

    Args:
        blocks: channels of each block.
        hidden: channels of the first 1x1 convolution after the blocks.
        features: channels of the second.
        channels: channels of the images.
        dtype: type of the parameters.

    Parameters: {"blocks": for each block {"main": three {"weight": [outputs, inputs, 3, 3], "offset"}, "skip": affine},
    "hidden": affine, "features": affine}, affine being {"weight": [inputs, outputs], "bias": [outputs]}, as a 1x1
    convolution is an affine layer on pixels. Weights are Glorot, the rest 0; all of them are learned, the skip
    convolutions and offsets too, which the paper's code leaves at their start.
    """

    def init(generator: Generator) -> Tree:
        sizes = (channels, *blocks)
        return {
            "blocks": [_block(inputs, outputs, generator, dtype) for inputs, outputs in pairwise(sizes)],
            "hidden": _affine(sizes[-1], hidden, generator, dtype),
            "features": _affine(hidden, features, generator, dtype),
        }

    def walk(params: Tree, x: Tensor, sets: ImageSets, given: "Tree | None") -> tuple[Tensor, Tree]:
        layers = cast("dict[str, Tree]", params)
        x, used = channels_last(x), list[Statistics]()
        for number, block in enumerate(cast("list[dict[str, Tree]]", layers["blocks"])):
            y = x
            for layer, values in zip(cast("list[Layer]", block["main"]), _of_block(given, number), strict=True):
                convolved = F.conv2d(y, layer["weight"], padding=1)
                pixels, found = _normed(layer, convolved.movedim(1, -1), sets, values)
                y = pixels.movedim(-1, 1)
                used.append(found)
            x = largest((y + _on_pixels(block["skip"], x)).movedim(1, -1)).movedim(-1, 1)
        pixels = torch.relu_(affine(layers["hidden"], x.movedim(1, -1).flatten(1, 2)))  # [N, height width, hidden]
        return torch.relu_(affine(layers["features"], pixels.mean(1))), cast(Tree, used)

    def copies(params: Tree, x: Tensor, given: "Tree | None") -> tuple[Tensor, Tree]:
        layers, count = cast("dict[str, Tree]", params), len(x)
        sets = image_sets((count, x.shape[1]), device=x.device, dtype=x.dtype)
        pixels, used = x.flatten(0, 1).movedim(1, -1), list[Statistics]()  # [N, height, width, channels]
        for number, block in enumerate(cast("list[dict[str, Tree]]", layers["blocks"])):
            y = pixels
            for layer, values in zip(cast("list[Layer]", block["main"]), _of_block(given, number), strict=True):
                y, found = _normed(layer, convolve_copies(y, layer["weight"], stride=1), sets, values)
                used.append(found)
            y = y + _affine_copies(block["skip"], pixels, count)
            pixels = largest(y, twice=True)
        means = torch.relu_(_affine_copies(layers["hidden"], pixels, count)).mean((1, 2))
        return torch.relu_(_affine_copies(layers["features"], means, count)).view(*x.shape[:2], -1), cast(Tree, used)

    return Representation(
        init,
        lambda params, x, sets: walk(params, x, sets, None)[0],
        lambda params, x, given: walk(params, x, one_set(x), given)[0],
        lambda params, x: walk(params, x, one_set(x), None)[1],
        copies,
    )


def _of_block(given: "Tree | None", number: int) -> Sequence[Statistics | None]:
    """The statistics of the norms of a block, or None for each."""
    if given is None:
        return [None] * CONVOLUTIONS
    return cast("list[Statistics]", given)[CONVOLUTIONS * number : CONVOLUTIONS * (number + 1)]


def _normed(layer: Layer, x: Tensor, sets: ImageSets, given: Statistics | None) -> tuple[Tensor, Statistics]:
    """Norm and leaky ReLU of a convolution [N, height, width, channels]; and the statistics of the norm."""
    y, used = normalize(x.flatten(1, 2), sets, layer["offset"], None, given, leak=SLOPE)
    return y.view(x.shape), used


def _affine_copies(layer: Tree, x: Tensor, count: int) -> Tensor:
    """The affine layer of each of `count` copies on the last axis of its rows of x [N, ..., inputs]."""
    rows = affine(layer, x.reshape(count, -1, x.shape[-1]))
    return rows.view(*x.shape[:-1], -1)


def _on_pixels(layer: Tree, x: Tensor) -> Tensor:
    """A 1x1 convolution: the affine layer on every pixel."""
    return affine(layer, x.movedim(1, -1)).movedim(-1, 1)


def _block(inputs: int, outputs: int, generator: Generator, dtype: torch.dtype) -> Tree:
    sizes = [(inputs, outputs), *[(outputs, outputs)] * (CONVOLUTIONS - 1)]
    main: list[Tree] = [
        {
            "weight": glorot((after, before, 3, 3), 9 * before, 9 * after, generator, dtype),
            "offset": torch.zeros(after, dtype=dtype),
        }
        for before, after in sizes
    ]
    return {"main": main, "skip": _affine(inputs, outputs, generator, dtype)}


def _affine(inputs: int, outputs: int, generator: Generator, dtype: torch.dtype) -> Tree:
    weight = glorot((inputs, outputs), inputs, outputs, generator, dtype)
    return {"weight": weight, "bias": torch.zeros(outputs, dtype=dtype)}
