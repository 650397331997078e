"""A network with a linear head, and a copy of their parameters for each task.

Parameters of one copy: {"representation": a tree, "head": [F + 1, classes]}, the last row of the head its bias. B
copies are the same tree with a leading axis for them; each sees the images of its own task.
"""

from typing import cast

import torch
from torch import Generator, Tensor

from core.bilevel import softmax_heads
from core.bilevel.problem import Tree
from core.models.initialization import glorot
from core.models.model import Representation


def initial_head(features: int, classes: int, generator: Generator, dtype: torch.dtype) -> Tensor:
    """[F + 1, classes]: Glorot, the bias 0."""
    weight = glorot((features, classes), features, classes, generator, dtype)
    return torch.cat([weight, torch.zeros(1, classes, dtype=dtype)])


def scores(model: Representation, copies: Tree, images: Tensor) -> Tensor:
    """Scores [B, n, classes] for images [B, n, channels, height, width], each task's a set of the norms."""
    network, head = _parts(copies)
    return softmax_heads.scores(head, model.copies(network, images, None)[0])


def scores_by_support(model: Representation, copies: Tree, support: Tensor, query: Tensor) -> Tensor:
    """Of the query images, with the statistics of the support images in the norms: not transductive."""
    network, head = _parts(copies)
    _, statistics = model.copies(network, support, None)
    return softmax_heads.scores(head, model.copies(network, query, statistics)[0])


def _parts(copies: Tree) -> tuple[Tree, Tensor]:
    parts = cast("dict[str, Tensor]", copies)
    return parts["representation"], parts["head"]
