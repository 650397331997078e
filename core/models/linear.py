"""One affine layer: scores = x W + b."""

from typing import cast

import torch
from torch import Generator, Tensor

from core.bilevel.problem import Tree
from core.models.model import Model, Pull


def linear(features: int, outputs: int, *, bias: bool = True, dtype: torch.dtype = torch.float32) -> Model:
    """Parameters {"weight": [features, outputs], "bias": [outputs]}, both zero at the start."""

    def init(generator: Generator) -> Tree:
        params: dict[str, Tree] = {"weight": torch.zeros(features, outputs, dtype=dtype)}
        return params | {"bias": torch.zeros(outputs, dtype=dtype)} if bias else params

    def pull(params: Tree, x: Tensor) -> tuple[Tensor, Pull]:
        return affine(params, x), lambda bar: affine_bar(params, x, bar)

    return Model(init, affine, pull)


def affine(params: Tree, x: Tensor) -> Tensor:
    """x W + b for {"weight": W [..., d, outputs], "bias": b [..., outputs]}, the bias optional."""
    layer = cast(dict[str, Tensor], params)
    weight, bias = layer["weight"], layer.get("bias")
    if bias is None:
        return x @ weight
    return torch.addmm(bias, x, weight) if x.ndim == weight.ndim == 2 else x @ weight + bias.unsqueeze(-2)


def affine_bar(params: Tree, x: Tensor, bar: Tensor) -> Tree:
    """Derivatives by the parameters of `affine`, from those by its value [..., n, outputs]."""
    found: dict[str, Tree] = {"weight": x.mT @ bar}
    return found | {"bias": bar.sum(-2)} if "bias" in cast(dict[str, Tree], params) else found
