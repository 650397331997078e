"""What a model is: pure functions of parameters and inputs."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Generator, Tensor

from core.bilevel.problem import Tree


class Model(NamedTuple):
    """A ground model for feature vectors."""

    init: Callable[[Generator], Tree]
    """Parameters at the start, on the CPU."""
    apply: Callable[[Tree, Tensor], Tensor]
    """(parameters, x [..., n, d]) -> scores [..., n, outputs]."""


class Representation(NamedTuple):
    """A network that makes features of images [G, n, channels, height, width], G groups (support or query sets)."""

    init: Callable[[Generator], Tree]
    """Parameters at the start, on the CPU."""
    apply: Callable[[Tree, Tensor], Tensor]
    """(parameters, x) -> features [G, n, F], with the statistics of each group itself in the norms."""
    apply_with: Callable[[Tree, Tensor, Tree], Tensor]
    """(parameters, x, statistics) -> features [G, n, F], with given statistics in the norms."""
    statistics: Callable[[Tree, Tensor], Tree]
    """(parameters, a large sample x [n, channels, height, width]) -> population statistics of the norms."""
