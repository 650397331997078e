"""Inner objectives of linear ground models, stated so that methods with analytic steps can read them."""

from collections.abc import Callable

import torch
from torch import Tensor

from core.bilevel.linear_models import LinearModel
from core.bilevel.linear_models.losses import Loss
from core.bilevel.problem import Tree
from core.spec.models import Linear, TableModel


def stated_as_linear(
    model: TableModel,
    x: Tensor,
    targets: Tensor,
    loss: Loss,
    *,
    strengths: Callable[[Tree], Tensor],
    offset_strength: float = 0.0,
    weights: Callable[[Tree], Tensor] | None = None,
) -> LinearModel | None:
    """x [n, d], targets [n, C], lam -> strengths [] or [d] of the features and weights [n]; None: it is not linear."""
    if not isinstance(model, Linear):
        return None
    features = x.shape[1]
    if not model.bias:
        return LinearModel(x, targets, loss, lambda lam: strengths(lam).expand(features).unsqueeze(-1), weights)

    def with_offset(lam: Tree) -> Tensor:
        own = strengths(lam).expand(features)
        return torch.cat([own, own.new_full((1,), offset_strength)]).unsqueeze(-1)

    extended = torch.cat([x, x.new_ones(len(x), 1)], dim=1)
    return LinearModel(extended, targets, loss, with_offset, weights, offset=True)
