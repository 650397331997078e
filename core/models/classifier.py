"""An ordinary classifier of images: a representation with one affine layer on top, whose scores are its features.

Scores are centred, c - mean(c): a softmax does not see the mean, which nothing would keep from drifting away.
"""

from typing import cast

import torch
from torch import Generator, Tensor

from core.bilevel.problem import Tree
from core.models.image_sets import ImageSets
from core.models.initialization import glorot
from core.models.linear import affine
from core.models.model import Representation


def classifier(below: Representation, features: int, classes: int, *, dtype: torch.dtype) -> Representation:
    """Images -> centred scores [N, classes], before any softmax.

    Args:
        below: the layers that make features.
        features: how many.
        classes: scores.
        dtype: type of the parameters.

    Parameters: {"below", "scores": {"weight": [features, classes], "bias": [classes]}}, weight Glorot and bias 0.
    """

    def init(generator: Generator) -> Tree:
        start = below.init(generator)
        weight = glorot((features, classes), features, classes, generator, dtype)
        return {"below": start, "scores": {"weight": weight, "bias": torch.zeros(classes, dtype=dtype)}}

    def parts(params: Tree) -> tuple[Tree, Tree]:
        named = cast(dict[str, Tree], params)
        return named["below"], named["scores"]

    def apply(params: Tree, x: Tensor, sets: ImageSets) -> Tensor:
        inside, last = parts(params)
        return _centred(affine(last, below.apply(inside, x, sets)))

    def apply_with(params: Tree, x: Tensor, statistics: Tree) -> Tensor:
        inside, last = parts(params)
        return _centred(affine(last, below.apply_with(inside, x, statistics)))

    def copies(params: Tree, x: Tensor, statistics: "Tree | None") -> tuple[Tensor, Tree]:
        inside, last = parts(params)
        features, seen = below.copies(inside, x, statistics)
        own = cast(dict[str, Tensor], last)
        return _centred(torch.baddbmm(own["bias"].unsqueeze(1), features, own["weight"])), seen

    return Representation(init, apply, apply_with, lambda params, x: below.statistics(parts(params)[0], x), copies)


def _centred(scores: Tensor) -> Tensor:
    return scores - scores.mean(-1, keepdim=True)
