"""Multilayer perceptron: affine layers with a nonlinearity between them."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import Generator, Tensor

from core.bilevel.problem import Tree
from core.models.initialization import glorot
from core.models.linear import affine, affine_bar
from core.models.model import Model, Pull, Representation

Activation = Literal["relu", "tanh", "sigmoid"]
_FUNCTIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}
_BACK: dict[Activation, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": lambda y, bar: torch.ops.aten.threshold_backward(bar, y, 0),
    "tanh": lambda y, bar: torch.ops.aten.tanh_backward(bar, y),
    "sigmoid": lambda y, bar: torch.ops.aten.sigmoid_backward(bar, y),
}
"""(value of the function, derivatives by it) -> derivatives by its argument, as autograd makes them."""


def mlp(
    features: int,
    hidden: Sequence[int],
    outputs: int,
    *,
    activation: Activation = "tanh",
    dtype: torch.dtype = torch.float32,
) -> Model:
    """Parameters: a list of {"weight": [rows, columns], "bias": [columns]}, weights Glorot and biases zero."""
    function, slope = _FUNCTIONS[activation], _BACK[activation]

    def apply(params: Tree, x: Tensor) -> Tensor:
        *inside, last = cast(list[Tree], params)
        for layer in inside:
            x = function(affine(layer, x))
        return affine(last, x)

    def pull(params: Tree, x: Tensor) -> tuple[Tensor, Pull]:
        layers = cast(list[Tree], params)
        seen = [x]
        for layer in layers[:-1]:
            seen.append(function(affine(layer, seen[-1])))

        def back(bar: Tensor) -> Tree:
            found: list[Tree] = []
            for i in reversed(range(len(layers))):
                found.append(affine_bar(layers[i], seen[i], bar))
                if i:
                    bar = slope(seen[i], bar @ cast(dict[str, Tensor], layers[i])["weight"].mT)
            return found[::-1]

        return affine(layers[-1], seen[-1]), back

    return Model(lambda generator: _layers((features, *hidden, outputs), generator, dtype), apply, pull)


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
