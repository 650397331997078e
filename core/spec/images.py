"""Images from a spec alone: what a representation makes of them, and how many of them are taken together."""

from itertools import pairwise
from typing import assert_never

from core.spec.datasets import ClassesOfImages
from core.spec.models import Conv4, Mlp, Residual


def feature_size(model: Conv4 | Residual | Mlp, side: int = 28) -> int:
    """Features that a representation makes of a side x side image."""
    match model:
        case Conv4():
            for _ in range(4):
                side = (side + 1) // 2 if model.downsample == "stride" else side // 2
            return model.filters * side * side
        case Residual():
            return model.features
        case Mlp():
            return model.hidden[-1]
        case _:
            assert_never(model)


def representation_size(model: Conv4 | Residual | Mlp, channels: int = 1, side: int = 28) -> int:
    """Parameters of a representation."""
    match model:
        case Conv4():
            norms = 2 if model.norm_scale else 1
            first = 9 * channels * model.filters
            return first + 3 * 9 * model.filters**2 + 4 * norms * model.filters
        case Residual():
            blocks = sum(
                9 * (inputs + 2 * outputs) * outputs + 3 * outputs + (inputs + 1) * outputs
                for inputs, outputs in pairwise((channels, *model.blocks))
            )
            return blocks + affine_size((model.blocks[-1], model.hidden, model.features))
        case Mlp():
            return affine_size((channels * side * side, *model.hidden))
        case _:
            assert_never(model)


def images_at_once(dataset: ClassesOfImages) -> int:
    """Images that an evaluation sends through the network together: as many pixels as 1280 images of 28x28 have."""
    return max(1, 1280 * 28**2 // dataset.side**2)


AT_A_TIME_ON_A_GPU = 8
"""As many times `images_at_once` go through the network together there, which is idle while a few images are launched:
1136 images of 84x84, of which the 64 channels of RN's first block take 1 GB in bfloat16."""


def population(dataset: ClassesOfImages) -> int:
    """Meta-training images whose statistics stand for those of all: as many pixels as 2000 images of 28x28 have."""
    return max(1, 2000 * 28**2 // dataset.side**2)


def affine_size(sizes: tuple[int, ...]) -> int:
    """Parameters of affine layers with so many inputs and outputs one behind the other."""
    return sum(rows * columns + columns for rows, columns in pairwise(sizes))
