"""Free outer variables for constrained quantities: natural = forward(free), free = inverse(natural)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Transform(NamedTuple):
    """A smooth one-to-one map from the real line onto an open interval, elementwise."""

    forward: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]


positive = Transform(torch.exp, torch.log)
"""Onto (0, inf): rates and strengths."""
unit_interval = Transform(torch.sigmoid, torch.logit)
"""Onto (0, 1): momenta and weights."""
