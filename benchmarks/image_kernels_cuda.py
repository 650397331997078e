"""Norms and max-pools on a GPU, forward and backward: kernels of our own over torch's operations.

`python -m benchmarks image_kernels_cuda`. Both are replayed from CUDA graphs, so that neither waits for launches; a
call is `IN_A_ROW` of them and ends with the device at rest. They have to agree before anything is timed.
"""

from collections.abc import Callable, Iterator, Sequence
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.agreement import require_agreement
from benchmarks.measure import Comparison, compare
from core.bilevel.derivatives import vjp_once
from core.bilevel.graphs import Capture, capture_cuda
from core.bilevel.problem import Tree
from core.models import kernels
from core.models.image_sets import ImageSets, image_sets
from core.models.norm import normalize
from core.models.pool import largest, pooled

IN_A_ROW = 10
SHAPES = ((320, 84, 32), (320, 42, 32), (320, 10, 32), (160, 84, 64), (160, 21, 128))
"""Images, pixels along a side, channels: of C4L, and of RN."""
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
Layer = Callable[[Tensor, Tensor, ImageSets], Tree]
"""(x [images, side, side, channels], offset [channels], sets) -> what of it is differentiated."""


def _norm(x: Tensor, offset: Tensor, sets: ImageSets) -> Tree:
    return normalize(x.flatten(1, 2), sets, offset, None, leak=0.1)[0]


def _pool(x: Tensor, offset: Tensor, sets: ImageSets) -> Tree:
    return largest(x)


def _block(x: Tensor, offset: Tensor, sets: ImageSets) -> Tree:
    small, values = pooled(x, sets)
    return normalize(small.flatten(1, 2), sets, offset, None, values, leak=0.0)[0]


LAYERS: dict[str, Layer] = {
    "norm and leaky ReLU": _norm,
    "max-pool": _pool,
    "max-pool, then norm of what was before it, and ReLU": _block,
}


def main(rounds: int) -> Iterator[Comparison]:
    """Each layer on each shape, in both formats."""
    if not torch.cuda.is_available():
        raise SystemExit("image_kernels_cuda: no CUDA device")
    for dtype in TOLERANCE:
        for name, layer in LAYERS.items():
            for shape in SHAPES:
                settings = f"{' x '.join(map(str, shape))}, {str(dtype).removeprefix('torch.')}"
                yield compare(
                    f"{IN_A_ROW} times {name}", settings, candidates(layer, shape, dtype, torch.device("cuda")), rounds
                )


def candidates(
    layer: Layer, shape: Sequence[int], dtype: torch.dtype, device: torch.device, capture: Capture = capture_cuda
) -> dict[str, Callable[[], object]]:
    """Torch's operations and the kernels, which agree."""
    images, side, channels = shape
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(images, side, side, channels, generator=generator).to(device, dtype)
    offset = torch.randn(channels, generator=generator).to(device, dtype)
    sets = image_sets((2, images // 2), device=device, dtype=torch.float32)

    def both_ways() -> Tree:
        y, pull = vjp_once(lambda x, offset: layer(x, offset, sets), x, offset)
        return (y, *pull(y))

    with patch.object(kernels, "available", lambda device: False):
        plain = capture(both_ways)
    made = {"torch's operations": plain, "kernels": capture(both_ways)}
    for recorded in made.values():
        recorded.replay()
    found = {name: [leaf.float().cpu().numpy() for leaf in recorded.output] for name, recorded in made.items()}
    require_agreement(found, TOLERANCE[dtype])
    return {name: _at_rest(recorded.replay) for name, recorded in made.items()}


def _at_rest(replay: Callable[[], None]) -> Callable[[], object]:
    def run() -> None:
        for _ in range(IN_A_ROW):
            replay()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return run
