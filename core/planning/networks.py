"""What networks cost: affine layers on feature vectors, and four blocks of convolution, norm and ReLU on images."""

from dataclasses import replace
from itertools import pairwise

from core.planning.work import NOTHING, Work, multiplied, product
from core.spec.datasets import ClassesOfImages
from core.spec.models import Conv4

VALUE = 0.4
"""Part of a gradient that its value, or the scores, alone take."""
GRADIENT_HOLDS = 4.0
"""What a gradient holds at its peak, over what its graph keeps, as measured."""
CONVOLUTION = 1.8
"""How much slower a convolution of few channels is than a large product of as many operations."""
VECTOR = 16
"""Numbers that a processor multiplies at a time."""
CONVOLUTION_TRAFFIC = 16
"""Times that a convolution's output is read or written, forward and backward, with norm and ReLU."""
CONVOLUTION_KEEPS = 4.7
"""Tensors of a convolution's output that a block with its norm takes, forward and backward, as measured."""
POOLED_TRAFFIC, POOLED_KEEPS = 9, 4.0
"""The same where a max-pool comes first, and norm and ReLU are on a quarter of the pixels."""
CONVOLUTION_HOLDS = 2.6
"""Such tensors that it takes without a graph, as measured, max-pool or not."""


def network_gradient(sizes: tuple[int, ...], n: int, item: int) -> Work:
    """Forward and backward of affine layers on n examples; no gradient is needed of the examples themselves."""
    layers = list(pairwise(sizes))
    forward = [product(n, rows, columns, item) for rows, columns in layers]
    total = sum([*forward, *forward, *forward[1:]], NOTHING)  # each once more for its weights, and for its inputs
    return total + Work(0, 8 * item * n * sum(sizes[1:]), 30 * len(layers))


WRITTEN_OUT, LINEAR_STEP = 2.0, 3.2
"""`overhead` of a gradient that is written out, and of whole steps of linear models (measured)."""
BY_TAPE = 4.0
"""`by_tape` of a gradient that is written out."""


def fit_gradient(sizes: tuple[int, ...], n: int, item: int) -> Work:
    """As `network_gradient`, written out, with the loss and the penalty: a quarter of the operators."""
    return replace(network_gradient(sizes, n, item), operators=6 * (len(sizes) - 1) + 2)


def activations(sizes: tuple[int, ...], n: int) -> float:
    """Numbers that the graph of a gradient keeps: scores and hidden units three times each."""
    return 3 * n * sum(sizes[1:])


def values_of_an_image(images: ClassesOfImages) -> int:
    """Numbers that an image is."""
    return images.channels * images.side**2


def _blocks(model: Conv4, images: ClassesOfImages) -> list[tuple[int, int, int]]:
    """(inputs, pixels of the convolution's output, pixels of the block's output) of each block."""
    found, side, inputs = [], images.side, images.channels
    for _ in range(4):
        convolved = (side + 1) // 2 if model.downsample == "stride" else side
        side = convolved if model.downsample == "stride" else side // 2
        found.append((inputs, convolved**2, side**2))
        inputs = model.filters
    return found


def conv4_gradient(model: Conv4, images: ClassesOfImages, count: int, item: int) -> Work:
    """Forward and backward on so many images; filters that do not fill a vector take as long as those that do."""
    filters = max(model.filters, VECTOR)
    blocks = _blocks(model.model_copy(update={"filters": filters}), images)
    operations = sum(18 * inputs * filters * pixels for inputs, pixels, _ in blocks)
    passes = POOLED_TRAFFIC if model.downsample == "max_pool" else CONVOLUTION_TRAFFIC
    traffic = passes * item * count * sum(filters * pixels for _, pixels, _ in blocks)
    return multiplied(CONVOLUTION * 3 * count * operations, item) + Work(0, traffic, 2 * 160)


def first_patches(model: Conv4, images: ClassesOfImages) -> float:
    """Numbers an image that the patches of its first convolution are, where each task has a copy of the network."""
    inputs, pixels, _ = _blocks(model, images)[0]
    return float(9 * inputs * pixels)


def conv4_keeps(model: Conv4, images: ClassesOfImages) -> float:
    """Numbers an image that it takes, forward with its graph and backward."""
    tensors = POOLED_KEEPS if model.downsample == "max_pool" else CONVOLUTION_KEEPS
    return tensors * sum(model.filters * pixels for _, pixels, _ in _blocks(model, images))


def conv4_holds(model: Conv4, images: ClassesOfImages, item: int) -> float:
    """Numbers an image that it holds at a time without a graph: input and outputs of its largest layer."""
    blocks = _blocks(model, images)
    # float64 has no convolution of its own: it becomes a product with the patches of all images.
    patches = max(9 * inputs * pixels for inputs, pixels, _ in blocks) if item == 8 else 0
    return (
        2 * values_of_an_image(images)
        + patches
        + CONVOLUTION_HOLDS * max(model.filters * pixels for _, pixels, _ in blocks)
    )
