"""Multilayer perceptron: affine layers with a nonlinearity between them."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import Generator, Tensor

from core.bilevel.problem import Tree
from core.models.initialization import glorot
from core.models.linear import affine
from core.models.model import Model, Representation

Activation = Literal["relu", "tanh", "sigmoid"]
_FUNCTIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


def mlp(
    features: int,
    hidden: Sequence[int],
    outputs: int,
    *,
    activation: Activation = "tanh",
    dtype: torch.dtype = torch.float32,
) -> Model:
    """Parameters: a list of {"weight": [rows, columns], "bias": [columns]}, weights Glorot and biases zero."""
    function = _FUNCTIONS[activation]

    def apply(params: Tree, x: Tensor) -> Tensor:
        *inside, last = cast(list[Tree], params)
        for layer in inside:
            x = function(affine(layer, x))
        return affine(last, x)

    return Model(lambda generator: _layers((features, *hidden, outputs), generator, dtype), apply)


def mlp_representation(
    pixels: int,
    hidden: Sequence[int],
    *,
    activation: Activation = "tanh",
    dtype: torch.dtype = torch.float32,
) -> Representation:
    """The last hidden layer of an MLP on flattened images as features; it has no norms, so no statistics."""
    function = _FUNCTIONS[activation]

    def apply(params: Tree, x: Tensor) -> Tensor:
        x = x.flatten(-3)
        for layer in cast(list[Tree], params):
            x = function(affine(layer, x))
        return x

    return Representation(
        lambda generator: _layers((pixels, *hidden), generator, dtype),
        lambda params, x, sets: apply(params, x),
        lambda params, x, statistics: apply(params, x),
        lambda params, x: (),
        lambda params, x, statistics: (apply(params, x), ()),
    )


def _layers(sizes: Sequence[int], generator: Generator, dtype: torch.dtype) -> Tree:
    return [
        {
            "weight": glorot((rows, columns), rows, columns, generator, dtype),
            "bias": torch.zeros(columns, dtype=dtype),
        }
        for rows, columns in pairwise(sizes)
    ]
