"""The gradient of an inner objective that fits a model to examples, written out.

L(w, lam) = 1/n sum_i weight_i(lam) loss(model(w, x_i), y_i) + a penalty. It takes half of the operators that torch's
tape takes for the same numbers, and steps of small models are bound by what operators cost to call.
"""

from collections.abc import Callable

from torch import Tensor

from core.bilevel import trees
from core.bilevel.derivatives import WithGradient
from core.bilevel.finite_sum import PartObjective, Rows
from core.bilevel.linear_models.losses import Loss
from core.bilevel.problem import Tree
from core.models.model import Model


def with_fit_gradient(
    objective: PartObjective,
    model: Model,
    loss: Loss,
    targets: Tensor,
    *,
    inputs: Callable[[Tree, Rows], Tensor],
    penalized: Callable[[Tree, Tree, Tree], Tree],
    weights: Callable[[Tree], Tensor] | None = None,
) -> PartObjective:
    """The objective, with its gradient where the model has written out its way back.

    Args:
        objective: L over some of the examples.
        model: Of any kind; w may have leading axes.
        loss: Of the scores.
        targets: y [n, C].
        inputs: (lam, rows) -> x of these examples.
        penalized: (the fit's gradient, w, lam) -> its sum with the penalty's.
        weights: lam -> weights [..., n] of the examples; by default all are 1.
    """
    pull = model.pull
    if pull is None:
        return objective

    def gradient(w: Tree, lam: Tree, rows: Rows) -> Tree:
        seen = targets[rows]
        scores, back = pull(w, inputs(lam, rows))
        shares = 1 / len(seen) if weights is None else weights(lam)[..., rows].unsqueeze(-1) / len(seen)
        return penalized(back(shares * (loss.mean(scores, -1) - seen)), w, lam)

    return WithGradient(objective, gradient)


def decayed(l2: float) -> Callable[[Tree, Tree, Tree], Tree]:
    """`penalized` for the penalty l2/2 ||w||^2 of all parameters."""
    return lambda fit, w, lam: trees.axpy(l2, w, fit) if l2 else fit
