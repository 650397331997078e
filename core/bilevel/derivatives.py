"""torch.func's products with Jacobians, with types that can be read.

Products with Hessians are made as vjp(grad) or jvp(grad) only: grad(jvp) and jvp(jvp) are silently wrong for torch's
fused normalizations.
"""

from collections.abc import Callable
from typing import Any

import torch

from core.bilevel import trees
from core.bilevel.problem import Tree

Pull = Callable[[Any], tuple[Any, ...]]
"""Cotangent of the value -> cotangents of the arguments."""


def vjp(function: Callable[..., Any], *arguments: Tree) -> tuple[Any, Pull]:
    """The value, and v -> v' J."""
    value, pull = torch.func.vjp(function, *arguments)  # type: ignore[misc]  # two with has_aux=False
    return value, pull


def vjp_on_tape(function: Callable[[Any], Any], argument: Tree) -> tuple[Any, Callable[[Any], Any]]:
    """As `vjp` for one argument, once and outside of all transformations: on torch's tape itself.

    The same derivatives with less to do for each operation, most of all for a torch.autograd.Function, and with memory
    freed on the way back. The pull can be called once.
    """
    leaves, structure = trees.flatten(argument)
    inputs = [leaf.detach().requires_grad_() for leaf in leaves]
    with torch.enable_grad():
        value = function(trees.unflatten(inputs, structure))

    def pull(cotangent: Tree) -> Any:
        pairs = zip(trees.leaves(value), trees.leaves(cotangent), strict=True)
        outputs, cotangents = zip(*(pair for pair in pairs if pair[0].requires_grad), strict=True)
        grads = torch.autograd.grad(outputs, inputs, cotangents, materialize_grads=True)
        return trees.unflatten(list(grads), structure)

    return trees.detach(value), pull


def vjp_with_aux(function: Callable[..., tuple[Any, Any]], *arguments: Tree) -> tuple[Any, Pull, Any]:
    """As `vjp` for a function that returns (value, what is not differentiated)."""
    value, pull, aux = torch.func.vjp(function, *arguments, has_aux=True)  # type: ignore[misc]  # three with has_aux=True
    return value, pull, aux


def jvps(function: Callable[..., Any], arguments: tuple[Tree, ...], tangents: tuple[Tree, ...]) -> tuple[Any, Any]:
    """The value, and the derivatives along many tangents at once: every leaf of theirs has a leading axis for them."""

    def along(*tangent: Tree) -> Any:
        return torch.func.jvp(function, arguments, tangent)

    value, slopes = torch.func.vmap(along, out_dims=(None, 0))(*tangents)  # type: ignore[arg-type]
    # Under vmap, the derivative of (number * scalar tensor) comes out in float64 (torch 2.13).
    return value, trees.map_leaves(lambda slope, v: slope.to(v.dtype), slopes, value)
