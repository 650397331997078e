"""What the residual network costs: blocks of three convolutions with norms and a 1x1 one beside, and affine layers."""

from itertools import pairwise

from core.planning.networks import CONVOLUTION, CONVOLUTION_TRAFFIC, values_of_an_image
from core.planning.work import Work, multiplied
from core.spec.datasets import ClassesOfImages
from core.spec.models import Residual

MAIN_KEEPS = 2.0
"""Tensors of a convolution's output that each of the three keeps: it, and what norm and leaky ReLU make of it."""
SKIP_KEEPS = 2.0
"""The same of the rest of a block: the sum, what the max-pool leaves of it, and its indices."""
HOLDS = 6.4
"""Tensors of its output that the largest convolution takes without a graph, skip path and max-pool beside it (measured:
6 on images of 84x84, 7 on those of 28x28)."""
RESIDUAL_VALUE = 0.31
"""Part of a gradient that its features alone take, as measured: of many channels the convolutions are nearly all."""


def _blocks(model: Residual, images: ClassesOfImages) -> list[tuple[int, int, int]]:
    """(inputs, outputs, pixels before the max-pool) of each block."""
    found, side = [], images.side
    for inputs, outputs in pairwise((images.channels, *model.blocks)):
        found.append((inputs, outputs, side**2))
        side = (side + 1) // 2
    return found


def _last(model: Residual, images: ClassesOfImages) -> int:
    """Pixels that the affine layers see."""
    side = images.side
    for _ in model.blocks:
        side = (side + 1) // 2
    return side**2


def residual_gradient(model: Residual, images: ClassesOfImages, count: int, item: int) -> Work:
    """Forward and backward on so many images."""
    blocks, last = _blocks(model, images), _last(model, images)
    operations = sum(2 * pixels * outputs * (9 * (inputs + 2 * outputs) + inputs) for inputs, outputs, pixels in blocks)
    affine = 2 * model.hidden * (last * model.blocks[-1] + model.features)
    values = sum(4 * outputs * pixels for _, outputs, pixels in blocks) + last * model.hidden
    traffic = CONVOLUTION_TRAFFIC * item * count * values
    work = multiplied(3 * count * (CONVOLUTION * operations + affine), item)
    return work + Work(0, traffic, 120 * len(blocks) + 40)


def residual_keeps(model: Residual, images: ClassesOfImages) -> float:
    """Numbers an image that it takes, forward with its graph and backward."""
    blocks = sum((3 * MAIN_KEEPS + SKIP_KEEPS) * outputs * pixels for _, outputs, pixels in _blocks(model, images))
    return blocks + 3 * _last(model, images) * model.hidden


def residual_holds(model: Residual, images: ClassesOfImages, item: int) -> float:
    """Numbers an image that it holds at a time without a graph: input and outputs of its largest layer."""
    blocks = _blocks(model, images)
    # float64 has no convolution of its own: it becomes a product with the patches of all images.
    patches = max(9 * outputs * pixels for _, outputs, pixels in blocks) if item == 8 else 0
    largest = max(outputs * pixels for _, outputs, pixels in blocks)
    return 2 * values_of_an_image(images) + patches + HOLDS * largest
