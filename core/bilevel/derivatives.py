"""Products with Jacobians, and gradients that can be differentiated again.

Where nothing transforms or differentiates them further they are made on torch's tape itself, which has less to do for
each operation: small inner problems are bound by that. Everywhere else they are those of torch.func; but a gradient on
a tape that is being written, as in the way back through a step, stays on it.

Products with Hessians are made as vjp(grad) or jvp(grad) only: grad(jvp) and jvp(jvp) are silently wrong for torch's
fused normalizations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.limits import FEW
from core.bilevel.problem import Tree

Pull = Callable[[Any], tuple[Any, ...]]
"""Cotangent of the value -> cotangents of the arguments."""
NO_TAPE = "torch has no derivatives in inference mode, where some of its versions give zeros: use torch.no_grad"


@dataclass(frozen=True)
class WithGradient:
    """A scalar function whose gradient by one of its arguments is written out: `gradient` takes it as it is."""

    value: Callable[..., Tensor]
    slope: Callable[..., Tree]
    """(arguments) -> the gradient, in operators that torch may differentiate."""
    place: int = 0
    """Of the argument."""

    def __call__(self, *arguments: Any) -> Tensor:
        """The scalar."""
        return self.value(*arguments)


def taking(
    arguments: Callable[..., tuple[Any, ...]], function: Callable[..., Tensor], place: int = 0
) -> Callable[..., Tensor]:
    """function(*arguments(...)), with its gradient where that is written out, by the new argument at `place`."""

    def value(*given: Any) -> Tensor:
        return function(*arguments(*given))

    if not isinstance(function, WithGradient):
        return value
    return WithGradient(value, lambda *given: function.slope(*arguments(*given)), place)


def vjp(function: Callable[..., Any], *arguments: Tree) -> tuple[Any, Pull]:
    """The value, and v -> v' J, which can be called again."""
    value, pull, _ = vjp_with_aux(lambda *given: (function(*given), ()), *arguments)
    return value, pull


def vjp_with_aux(function: Callable[..., tuple[Any, Any]], *arguments: Tree) -> tuple[Any, Pull, Any]:
    """As `vjp` for a function that returns (value, what is not differentiated)."""
    if _transformed() or torch.is_grad_enabled():  # with it, somebody may differentiate the product
        value, pull, aux = torch.func.vjp(function, *arguments, has_aux=True)  # type: ignore[misc]  # three of them
        return value, pull, aux
    value, pull_again, aux = _on_tape(function, arguments, again=True)
    return value, pull_again, aux


def vjp_once(function: Callable[..., Any], *arguments: Tree) -> tuple[Any, Pull]:
    """As `vjp` on the tape, with memory freed on the way back: once, and where nothing differentiates it further."""
    value, pull, _ = _on_tape(lambda *given: (function(*given), ()), arguments, again=False)
    return value, pull


def gradient(function: Callable[..., Tensor], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """The function (arguments) -> the partial derivatives of a scalar by these of its arguments.

    It can be differentiated again. Raises ValueError where the function's value is no scalar.
    """
    if isinstance(function, WithGradient) and argnums == function.place:
        return function.slope
    both = gradient_and_value(function, argnums)
    return lambda *arguments: both(*arguments)[0]


def gradient_and_value(
    function: Callable[..., Tensor], argnums: int | tuple[int, ...] = 0
) -> Callable[..., tuple[Any, Tensor]]:
    """As `gradient`, with the scalar itself: (derivatives, value)."""
    places = argnums if isinstance(argnums, tuple) else (argnums,)

    def found(*arguments: Any) -> tuple[Any, Tensor]:
        again = torch.is_grad_enabled()  # whether somebody may differentiate what comes out here
        if _transformed() or (again and not _differentiated(arguments)):
            both: tuple[Any, Tensor] = torch.func.grad_and_value(function, argnums)(*arguments)
            return both
        leaves, structure = trees.flatten(tuple(arguments[place] for place in places))
        with torch.enable_grad():
            # A view is another variable: what else is the same tensor, as lam may be, counts as constant.
            inputs = [x.view_as(x) if again and x.requires_grad else x.detach().requires_grad_() for x in leaves]
            given: Any = list(arguments)
            for place, argument in zip(places, trees.unflatten(inputs, structure), strict=True):
                given[place] = argument
            value = function(*given)
            if value.ndim:
                raise ValueError(f"a gradient is that of a scalar, not of a tensor of shape {tuple(value.shape)}")
            slopes = _pulled([value], inputs, [torch.ones_like(value)], create_graph=again)
        by_place: Any = trees.unflatten(slopes, structure)
        return by_place if isinstance(argnums, tuple) else by_place[0], value if again else value.detach()

    return found


def jvps(function: Callable[..., Any], arguments: tuple[Tree, ...], tangents: tuple[Tree, ...]) -> tuple[Any, Any]:
    """The value, and J v for many tangents v at once: every leaf of theirs has a leading axis for them.

    On the tape where there are few numbers: torch's forward mode takes two to five times as long there, for what its
    operators cost to call; but it makes a pass less, which is what counts where there are many.
    """
    numbers = sum(leaf.numel() for leaf in trees.leaves(arguments))
    return (_twice_back if numbers <= FEW else jvps_forward)(function, arguments, tangents)


def jvps_forward(
    function: Callable[..., Any], arguments: tuple[Tree, ...], tangents: tuple[Tree, ...]
) -> tuple[Any, Any]:
    """`jvps` by torch's forward mode, however many numbers there are: for networks, whose operators are large."""
    _refuse_inference_mode()

    def along(*tangent: Tree) -> Any:
        return torch.func.jvp(function, arguments, tangent)

    value, slopes = torch.func.vmap(along, out_dims=(None, 0))(*tangents)  # type: ignore[arg-type]
    # Under vmap, the derivative of (number * scalar tensor) comes out in float64 (torch 2.13).
    return value, trees.map_leaves(lambda slope, v: slope.to(v.dtype), slopes, value)


def _twice_back(
    function: Callable[..., Any], arguments: tuple[Tree, ...], tangents: tuple[Tree, ...]
) -> tuple[Any, Any]:
    """`jvps` on the tape: J v is the derivative of u' J v by u, whatever u is."""
    inputs, structure, value = _recorded(function, arguments)
    outputs, shape = trees.flatten(value)
    probes = [torch.zeros_like(output, requires_grad=True) for output in outputs]
    products = _pulled(outputs, inputs, probes, create_graph=True)
    along = trees.leaves_as(structure, tangents)
    pairs = [pair for pair in zip(products, along, strict=True) if pair[0].requires_grad]
    found: Sequence[Tensor | None] = [None] * len(probes)
    if pairs:
        dependent, directions = zip(*pairs, strict=True)
        found = torch.autograd.grad(dependent, probes, directions, is_grads_batched=True, allow_unused=True)
    slopes = [
        output.new_zeros(len(along[0]), *output.shape) if slope is None else slope
        for output, slope in zip(outputs, found, strict=True)
    ]
    return trees.unflatten([output.detach() for output in outputs], shape), trees.unflatten(slopes, shape)


def _transformed() -> bool:
    """Whether this runs within a transformation of torch.func."""
    _refuse_inference_mode()
    active: bool = torch._C._are_functorch_transforms_active()
    return active


def _refuse_inference_mode() -> None:
    if torch.is_inference_mode_enabled():
        raise RuntimeError(NO_TAPE)


def _differentiated(arguments: tuple[Any, ...]) -> bool:
    """Whether somebody takes derivatives by one of these, which may be numbers."""
    found: list[Any] = trees.leaves(arguments)
    return any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in found)


def _on_tape(
    function: Callable[..., tuple[Any, Any]], arguments: tuple[Tree, ...], *, again: bool
) -> tuple[Any, Pull, Any]:
    """(value, pull, aux) by reverse differentiation on torch's tape; `again`: the pull can be called more than once."""
    inputs, structure, (value, aux) = _recorded(function, arguments)
    outputs, shape = trees.flatten(value)

    def pull(cotangent: Any) -> tuple[Any, ...]:
        slopes = _pulled(outputs, inputs, trees.leaves_as(shape, cotangent), retain_graph=again)
        back: Any = trees.unflatten(slopes, structure)
        return tuple(back)

    return trees.detach(value), pull, trees.detach(aux)


def _recorded(function: Callable[..., Any], arguments: tuple[Tree, ...]) -> tuple[list[Tensor], trees.Structure, Any]:
    """The leaves of the arguments as inputs of the tape, their structure, and the value that is written on it."""
    _refuse_inference_mode()
    leaves, structure = trees.flatten(arguments)
    inputs = [leaf.detach().requires_grad_() for leaf in leaves]
    given: Any = trees.unflatten(inputs, structure)
    with torch.enable_grad():
        return inputs, structure, function(*given)


def _pulled(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], cotangents: Sequence[Tensor], **options: bool
) -> list[Tensor]:
    """v' J for each of the inputs; zeros where no output depends on one."""
    pairs = [pair for pair in zip(outputs, cotangents, strict=True) if pair[0].requires_grad]
    if not pairs:
        return [torch.zeros_like(leaf) for leaf in inputs]
    dependent, along = zip(*pairs, strict=True)
    return list(torch.autograd.grad(dependent, inputs, along, materialize_grads=True, **options))
