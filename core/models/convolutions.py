"""3x3 convolutions with a weight for each of several copies of a network, whose images lie one behind the other.

One convolution in groups, a copy a group; of images with few channels one product a copy with their patches, which is
faster there, and takes little memory.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

FEW_CHANNELS = 4
"""Up to which patches are taken."""


def convolve_copies(x: Tensor, weight: Tensor, *, stride: int) -> Tensor:
    """Convolutions, padded by 1, of images [B n, height, width, channels] with the weight of each of B copies.

    weight [B, filters, channels, 3, 3] -> [B n, height', width', filters].
    """
    return (_by_patches if x.shape[-1] <= FEW_CHANNELS else _in_groups)(x, weight, stride)


def _in_groups(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    copies = len(weight)
    side_by_side = (
        x.reshape(copies, -1, *x.shape[1:]).permute(1, 0, 4, 2, 3).flatten(1, 2)
    )  # [n, B channels, height, width]
    found = F.conv2d(side_by_side, weight.flatten(0, 1), stride=stride, padding=1, groups=copies)
    return found.reshape(len(found), copies, -1, *found.shape[2:]).permute(1, 0, 3, 4, 2).flatten(0, 1)


def _by_patches(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    found = _patches(x, stride)
    rows = found.view(len(weight), -1, 9 * x.shape[-1])  # [B, n height' width', 3 3 channels]
    kernels = weight.movedim(2, -1).flatten(2)  # [B, filters, 3 3 channels]
    return (rows @ kernels.mT).view(*found.shape[:3], -1)


class _Patches(torch.autograd.Function):
    """x [N, height, width, channels], stride -> [N, height', width', 3, 3, channels]; linear, its adjoint `_Folded`.

    The way back of torch's own unfold has no rule for vmap.
    """

    @staticmethod
    def forward(x: Tensor, stride: int) -> Tensor:
        padded = F.pad(x, (0, 0, 1, 1, 1, 1))
        return padded.unfold(1, 3, stride).unfold(2, 3, stride).movedim(3, -1).contiguous()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.stride = inputs
        ctx.size = x.shape[1:3]

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None]:
        return _folded(cotangent, ctx.stride, *ctx.size), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return _patches(tangent, ctx.stride)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor, stride: int) -> tuple[Tensor, int]:
        return _batched(_patches, in_dims, x, stride)


class _Folded(torch.autograd.Function):
    """The adjoint: patches are added up where they overlap, and what lies in the padding is dropped."""

    @staticmethod
    def forward(patches: Tensor, stride: int, height: int, width: int) -> Tensor:
        count, rows, _, _, _, channels = patches.shape
        windows = patches.movedim(-1, 3)  # [N, height', width', channels, 3, 3]
        wide = torch.ops.aten.unfold_backward(windows, [count, rows, width + 2, channels, 3], 2, 3, stride)
        whole: Tensor = torch.ops.aten.unfold_backward(wide, [count, height + 2, width + 2, channels], 1, 3, stride)
        return whole[:, 1:-1, 1:-1]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.stride, *ctx.size = inputs

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None, None, None]:
        return _patches(cotangent, ctx.stride), None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return _folded(tangent, ctx.stride, *ctx.size)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], patches: Tensor, stride: int, height: int, width: int
    ) -> tuple[Tensor, int]:
        return _batched(_folded, in_dims, patches, stride, height, width)


def _batched(
    function: Callable[..., Tensor], in_dims: tuple[int | None, ...], x: Tensor, *knobs: int
) -> tuple[Tensor, int]:
    """A batch of batches of images is a batch of images."""
    assert in_dims[0] is not None
    x = x.movedim(in_dims[0], 0)
    found = function(x.flatten(0, 1), *knobs)
    return found.view(*x.shape[:2], *found.shape[1:]), 0


_patches: Callable[..., Tensor] = _Patches.apply
_folded: Callable[..., Tensor] = _Folded.apply
