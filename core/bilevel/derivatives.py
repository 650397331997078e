"""Products with Jacobians, and gradients that can be differentiated again.

Outside of all transformations of torch.func they are made on torch's tape itself, which has less to do for each
operation: small inner problems are bound by that. Within vmap or jvp they are those of torch.func.

Products with Hessians are made as vjp(grad) or jvp(grad) only: grad(jvp) and jvp(jvp) are silently wrong for torch's
fused normalizations.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from core.bilevel import trees
from core.bilevel.problem import Tree

Pull = Callable[[Any], tuple[Any, ...]]
"""Cotangent of the value -> cotangents of the arguments."""


def vjp(function: Callable[..., Any], *arguments: Tree) -> tuple[Any, Pull]:
    """The value, and v -> v' J, which can be called again."""
    value, pull, _ = vjp_with_aux(lambda *given: (function(*given), ()), *arguments)
    return value, pull


def vjp_with_aux(function: Callable[..., tuple[Any, Any]], *arguments: Tree) -> tuple[Any, Pull, Any]:
    """As `vjp` for a function that returns (value, what is not differentiated)."""
    if _transformed():
        value, pull, aux = torch.func.vjp(function, *arguments, has_aux=True)  # type: ignore[misc]  # three of them
        return value, pull, aux
    value, pull_again, aux = _on_tape(lambda given: function(*given), arguments, again=True)
    return value, pull_again, aux


def vjp_once(function: Callable[..., Any], *arguments: Tree) -> tuple[Any, Pull]:
    """As `vjp`, with memory freed on the way back: the pull can be called once. Outside of all transformations."""
    value, pull, _ = _on_tape(lambda given: (function(*given), ()), arguments, again=False)
    return value, pull


def gradient(function: Callable[..., Tensor], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """The function (arguments) -> the partial derivatives of a scalar by these of its arguments.

    It can be differentiated again by any of the arguments; what the function captures counts as constant.
    """
    both = gradient_and_value(function, argnums)
    return lambda *arguments: both(*arguments)[0]


def gradient_and_value(
    function: Callable[..., Tensor], argnums: int | tuple[int, ...] = 0
) -> Callable[..., tuple[Any, Tensor]]:
    """As `gradient`, with the scalar itself: (derivatives, value)."""
    places = argnums if isinstance(argnums, tuple) else (argnums,)

    def found(*arguments: Any) -> tuple[Any, Tensor]:
        if _transformed():
            both: tuple[Any, Tensor] = torch.func.grad_and_value(function, argnums)(*arguments)
            return both
        # Whether somebody differentiates what comes out here: only then has it to stay on the tape.
        again = torch.is_grad_enabled() and any(map(_differentiated, trees.leaves(arguments)))
        leaves, structure = trees.flatten(tuple(arguments[place] for place in places))
        with torch.enable_grad():
            # A view is another variable: what else is the same tensor, as lam may be, counts as constant.
            inputs = [x.view_as(x) if again and x.requires_grad else _apart(x).requires_grad_() for x in leaves]
            given: Any = list(arguments)
            for place, argument in zip(places, trees.unflatten(inputs, structure), strict=True):
                given[place] = argument
            value = function(*given)
            slopes = _pulled([value], inputs, [torch.ones_like(value)], create_graph=again)
        by_place: Any = trees.unflatten(slopes, structure)
        return by_place if isinstance(argnums, tuple) else by_place[0], value if again else _apart(value)

    return found


def jvps(function: Callable[..., Any], arguments: tuple[Tree, ...], tangents: tuple[Tree, ...]) -> tuple[Any, Any]:
    """The value, and the derivatives along many tangents at once: every leaf of theirs has a leading axis for them."""
    if len(trees.leaves(tangents)[0]) == 1 and not _transformed():
        value, slope = _jvp(function, arguments, trees.map_leaves(lambda leaf: leaf[0], tangents))
        return value, trees.map_leaves(lambda leaf: leaf.unsqueeze(0), slope)

    def along(*tangent: Tree) -> Any:
        return torch.func.jvp(function, arguments, tangent)

    value, slopes = torch.func.vmap(along, out_dims=(None, 0))(*tangents)  # type: ignore[arg-type]
    # Under vmap, the derivative of (number * scalar tensor) comes out in float64 (torch 2.13).
    return value, trees.map_leaves(lambda slope, v: slope.to(v.dtype), slopes, value)


def _jvp(function: Callable[..., Any], arguments: tuple[Tree, ...], tangent: tuple[Tree, ...]) -> tuple[Any, Any]:
    """The value and its derivative along one tangent, half as dear as through a vmap of torch.func's jvp."""
    with forward_ad.dual_level():
        duals: Any = trees.map_leaves(_dual, arguments, tangent)
        outputs, structure = trees.flatten(function(*duals))
        pairs = [_unpacked(output) for output in outputs]
    values = [value for value, _ in pairs]
    slopes = [torch.zeros_like(value) if slope is None else slope for value, slope in pairs]
    return trees.unflatten(values, structure), trees.unflatten(slopes, structure)


def _transformed() -> bool:
    """Whether this runs within a transformation of torch.func."""
    active: bool = torch._C._are_functorch_transforms_active()
    return active


def _differentiated(leaf: Any) -> bool:
    """Whether somebody takes derivatives by this argument, which may be a number."""
    return isinstance(leaf, Tensor) and leaf.requires_grad


def _apart(leaf: Tensor) -> Tensor:
    """The same values off the tape, with the tangent that `jvps` may have given them."""
    value, slope = _unpacked(leaf)
    return value.detach() if slope is None else _dual(value.detach(), slope.detach())


def _dual(value: Tensor, slope: Tensor) -> Tensor:
    found: Tensor = forward_ad.make_dual(value, slope)  # type: ignore[no-untyped-call]
    return found


def _unpacked(leaf: Tensor) -> tuple[Tensor, Tensor | None]:
    """The values and the tangent, if there is one."""
    found: tuple[Tensor, Tensor | None] = forward_ad.unpack_dual(leaf)  # type: ignore[no-untyped-call]
    return found


def _on_tape(
    function: Callable[[tuple[Tree, ...]], tuple[Any, Any]], arguments: tuple[Tree, ...], *, again: bool
) -> tuple[Any, Pull, Any]:
    """(value, pull, aux) by reverse differentiation on torch's tape; `again`: the pull can be called more than once."""
    leaves, structure = trees.flatten(arguments)
    inputs = [_apart(leaf).requires_grad_() for leaf in leaves]
    given: Any = trees.unflatten(inputs, structure)
    with torch.enable_grad():
        value, aux = function(given)
    outputs = trees.leaves(value)

    def pull(cotangent: Any) -> tuple[Any, ...]:
        back: Any = trees.unflatten(_pulled(outputs, inputs, trees.leaves(cotangent), retain_graph=again), structure)
        return tuple(back)

    return trees.map_leaves(_apart, value), pull, trees.map_leaves(_apart, aux)


def _pulled(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], cotangents: Sequence[Tensor], **options: bool
) -> list[Tensor]:
    """v' J for each of the inputs; zeros where no output depends on one."""
    pairs = [pair for pair in zip(outputs, cotangents, strict=True) if pair[0].requires_grad]
    if not pairs:
        return [torch.zeros_like(leaf) for leaf in inputs]
    dependent, along = zip(*pairs, strict=True)
    return list(torch.autograd.grad(dependent, inputs, along, materialize_grads=True, **options))
