"""Operations that kernels of our own compute on a GPU, where nothing differentiates or batches them further."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from core.bilevel.fused import available

Operation = Callable[..., tuple[Tensor, ...]]
"""Inputs -> outputs."""


class Kernels(NamedTuple):
    """An operation by kernels of our own, and its adjoint."""

    forward: Operation
    backward: Callable[[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor]]
    """(cotangents of the outputs, inputs, outputs but the first) -> cotangents of the first inputs; the rest have none.

    The first output, which is large, is not kept."""


def computed(plain: Operation, kernels: Callable[[], Kernels], *inputs: Tensor) -> tuple[Tensor, ...]:
    """plain(*inputs), by the kernels where they take the inputs; they are not asked for elsewhere."""
    if not fused(*inputs):
        return plain(*inputs)
    return _by_kernels(kernels(), plain, *inputs)


def fused(*tensors: Tensor) -> bool:
    """Whether kernels of our own take these: plain tensors on a GPU. Those that torch.func wraps have no storage, and
    tangents of forward mode are not theirs."""
    return (
        available(tensors[0].device)
        and all(tensor.dtype in (torch.float32, torch.bfloat16) for tensor in tensors)
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
        and all(torch._C._has_storage(tensor) for tensor in tensors)
    )


class _ByKernels(torch.autograd.Function):
    """(kernels, plain, inputs) -> plain(inputs)."""

    @staticmethod
    def forward(ctx: Any, kernels: Kernels, plain: Operation, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = kernels.forward(*inputs)
        ctx.save_for_backward(*inputs, *outputs[1:])
        ctx.kernels, ctx.plain, ctx.count = kernels, plain, len(inputs)
        return outputs

    @staticmethod
    def backward(ctx: Any, *bars: Tensor) -> tuple[Tensor | None, ...]:
        """By the kernels or, where somebody goes on from here, by the operations that they stand for, made anew."""
        inputs, kept = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
        again = torch.is_grad_enabled()
        if not again and fused(*inputs, *bars):
            slopes = ctx.kernels.backward(bars, inputs, kept)
            found = [slope.to(each.dtype) for slope, each in zip(slopes, inputs, strict=False)]
            return None, None, *found, *[None] * (ctx.count - len(found))
        needed = ctx.needs_input_grad[2:]
        with torch.enable_grad():
            outputs = ctx.plain(*inputs)
        asked = [each for each, need in zip(inputs, needed, strict=True) if need]
        left = iter(torch.autograd.grad(outputs, asked, bars, create_graph=again))
        return None, None, *(next(left) if need else None for need in needed)


_by_kernels: Callable[..., tuple[Tensor, ...]] = _ByKernels.apply
