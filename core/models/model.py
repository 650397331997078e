"""What a model is: pure functions of parameters and inputs."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Generator, Tensor

from core.bilevel.problem import Tree
from core.models.image_sets import ImageSets

Pull = Callable[[Tensor], Tree]
"""A scalar's derivatives by the scores [..., n, outputs] -> those by the parameters."""


class Model(NamedTuple):
    """A ground model for feature vectors."""

    init: Callable[[Generator], Tree]
    """Parameters at the start, on the CPU."""
    apply: Callable[[Tree, Tensor], Tensor]
    """(parameters, x [..., n, d]) -> scores [..., n, outputs]."""
    pull: Callable[[Tree, Tensor], tuple[Tensor, Pull]] | None = None
    """As `apply`, with the way back written out in operators that torch may differentiate; None: torch finds it."""


class Representation(NamedTuple):
    """A network that makes features of images [N, channels, height, width]."""

    init: Callable[[Generator], Tree]
    """Parameters at the start, on the CPU."""
    apply: Callable[[Tree, Tensor, ImageSets], Tensor]
    """(parameters, x, sets) -> features [N, F], with the statistics of each set of images in the norms."""
    apply_with: Callable[[Tree, Tensor, Tree], Tensor]
    """(parameters, x, statistics) -> features [N, F], with given statistics in the norms."""
    statistics: Callable[[Tree, Tensor], Tree]
    """(parameters, a large sample x) -> population statistics of the norms."""
    copies: Callable[[Tree, Tensor, "Tree | None"], tuple[Tensor, Tree]]
    """(parameters with a leading axis for B copies, x [B, n, channels, height, width], statistics or None) -> features
    [B, n, F] of each copy for its own images, and the statistics in its norms: those given, or its images' own."""
