"""Scores affine in x and x^2."""

import torch
from torch import Generator, Tensor

from bilevel_plugin_example.spec import WithSquares
from core.bilevel.problem import Tree
from core.models.linear import affine
from core.models.model import Model


def with_squares(spec: WithSquares, features: int, outputs: int, dtype: torch.dtype) -> Model:
    """Parameters {"weight": [2 features, outputs], "bias": [outputs]}."""

    def init(generator: Generator) -> Tree:
        return {"weight": torch.zeros(2 * features, outputs, dtype=dtype), "bias": torch.zeros(outputs, dtype=dtype)}

    def apply(params: Tree, x: Tensor) -> Tensor:
        return affine(params, torch.cat([x, x**2], dim=-1))

    return Model(init, apply)
