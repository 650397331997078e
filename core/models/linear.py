"""One affine layer: scores = x W + b."""

from typing import cast

import torch
from torch import Generator, Tensor

from core.bilevel.problem import Tree
from core.models.model import Model


def linear(features: int, outputs: int, *, bias: bool = True, dtype: torch.dtype = torch.float32) -> Model:
    """Parameters {"weight": [features, outputs], "bias": [outputs]}, both zero at the start."""

    def init(generator: Generator) -> Tree:
        params: dict[str, Tree] = {"weight": torch.zeros(features, outputs, dtype=dtype)}
        return params | {"bias": torch.zeros(outputs, dtype=dtype)} if bias else params

    return Model(init, affine)


def affine(params: Tree, x: Tensor) -> Tensor:
    """x W + b for {"weight": W [..., d, outputs], "bias": b [..., outputs]}, the bias optional."""
    layer = cast(dict[str, Tensor], params)
    scores = x @ layer["weight"]
    return scores + layer["bias"].unsqueeze(-2) if "bias" in layer else scores
