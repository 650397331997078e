from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from core.bilevel import derivatives, trees
from core.bilevel.derivatives import (
    Pull,
    gradient,
    gradient_and_value,
    jvps,
    vjp,
    vjp_once,
    vjp_with_aux,
)


def vectors(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(3, dtype=torch.float64, generator=generator) for _ in range(count)]


def several(x: Tensor, given: dict[str, Tensor]) -> Any:
    """Outputs that depend on both, on one of the arguments as it is, and on none."""
    return {"product": x * given["y"].exp(), "passed on": given["y"], "constant": torch.ones(2)}


def energy(w: Tensor, lam: Tensor) -> Tensor:
    return (w.exp() * lam).sum() + (w * w).sum() * lam.prod()


@pytest.fixture(params=[torch.no_grad, torch.enable_grad], ids=["tape", "grad"])
def mode(request: pytest.FixtureRequest) -> Iterator[None]:
    """How a caller may have set torch up: the tape is for the first one, that of the methods."""
    with request.param():
        yield


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize("product", [vjp, vjp_once])
def test_the_tape_gives_the_derivatives_of_torch_func(product: Callable[..., tuple[Any, Pull]]) -> None:
    x, y, unused = vectors(3)
    arguments = (x, {"y": y, "unused": unused})
    value, pull = product(several, *arguments)
    expected, pull_functional = torch.func.vjp(several, *arguments)  # type: ignore[misc]
    cotangent = trees.map_leaves(torch.ones_like, expected)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(pull(cotangent), pull_functional(cotangent))
    assert not any(leaf.requires_grad for leaf in trees.leaves((value, *arguments)))


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize("few", [0, derivatives.FEW], ids=["many numbers", "few numbers"])
def test_many_tangents_at_once_are_each_that_of_torch_func(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derivatives, "FEW", few)
    x, y, unused, *more = vectors(9)
    arguments = (x, {"y": y, "unused": unused})
    tangents = [(more[2 * i], {"y": more[2 * i] + more[2 * i + 1], "unused": more[2 * i + 1]}) for i in range(3)]
    value, slopes = jvps(several, arguments, trees.map_leaves(lambda *each: torch.stack(each), *tangents))
    torch.testing.assert_close(value, several(*arguments))
    for i, tangent in enumerate(tangents):
        _, expected = torch.func.jvp(several, arguments, tangent)
        torch.testing.assert_close(trees.map_leaves(lambda leaf, i=i: leaf[i], slopes), expected)
    assert not any(leaf.requires_grad for leaf in trees.leaves((value, slopes, *arguments)))


@pytest.mark.usefixtures("mode")
def test_a_pull_can_be_called_again_and_within_vmap() -> None:
    w, lam, first, second = vectors(4)
    _, pull = vjp(gradient(energy), w, lam)
    both = torch.func.vmap(lambda v: pull(v)[1])(torch.stack([first, second]))
    torch.testing.assert_close(both, torch.stack([pull(first)[1], pull(second)[1]]))


@pytest.mark.usefixtures("mode")
def test_what_is_not_differentiated_leaves_without_its_graph() -> None:
    w, lam, v = vectors(3)
    value, pull, aux = vjp_with_aux(lambda w: (w * lam, {"square": w * w}), w)
    torch.testing.assert_close(aux, {"square": w * w})
    torch.testing.assert_close(pull(v)[0], v * lam)
    assert not any(leaf.requires_grad for leaf in trees.leaves((value, aux)))


@pytest.mark.usefixtures("mode")
def test_a_function_of_nothing_has_derivatives_of_zero() -> None:
    w, lam = vectors(2)
    assert trees.leaves(vjp(lambda w: torch.ones(2), w)[1](torch.ones(2))[0])[0].eq(0).all()
    assert gradient(lambda w, lam: lam.sum())(w, lam).eq(0).all()


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize("argnums", [0, 1, (1, 0)])
def test_gradients_are_those_of_torch_func(argnums: int | tuple[int, ...]) -> None:
    w, lam = vectors(2)
    expected = torch.func.grad_and_value(energy, argnums)(w, lam)
    torch.testing.assert_close(gradient_and_value(energy, argnums)(w, lam), expected)
    torch.testing.assert_close(gradient(energy, argnums)(w, lam), expected[0])


@pytest.mark.usefixtures("mode")
def test_a_gradient_can_be_differentiated_again() -> None:
    w, lam, v, u = vectors(4)
    once, again = gradient(energy), torch.func.grad(energy)
    expected = torch.func.vjp(again, w, lam)[1](v)  # type: ignore[misc]
    torch.testing.assert_close(vjp(once, w, lam)[1](v), expected)
    curvature = gradient(lambda w, lam: (once(w, lam) * v).sum(), (0, 1))
    functional = torch.func.grad(lambda w, lam: (again(w, lam) * v).sum(), (0, 1))
    torch.testing.assert_close(curvature(w, lam), functional(w, lam))
    third = vjp(curvature, w, lam)[1]((u, v))
    torch.testing.assert_close(third, torch.func.vjp(functional, w, lam)[1]((u, v)))  # type: ignore[misc]


@pytest.mark.usefixtures("mode")
def test_a_gradient_within_transformations_is_theirs() -> None:
    w, lam, v = vectors(3)
    tangent = torch.func.jvp(gradient(energy), (w, lam), (v, v))[1]
    torch.testing.assert_close(tangent, torch.func.jvp(torch.func.grad(energy), (w, lam), (v, v))[1])
    stacked = torch.func.vmap(gradient(energy), in_dims=(0, None))(torch.stack([w, v]), lam)
    torch.testing.assert_close(stacked, torch.stack([gradient(energy)(w, lam), gradient(energy)(v, lam)]))


@pytest.mark.usefixtures("mode")
def test_a_gradient_is_partial_where_both_arguments_are_one_tensor() -> None:
    """As after w_0 = lam, with an inner objective that knows lam, too."""
    lam, v = vectors(2)
    by_w = gradient(lambda w, lam: (w - lam).square().sum() + (w * lam).sum())
    torch.testing.assert_close(by_w(lam, lam), lam)
    torch.testing.assert_close(vjp(lambda lam: by_w(lam, lam), lam)[1](v)[0], v)


def test_nothing_stays_on_the_tape_that_nobody_differentiates() -> None:
    w, lam = vectors(2)
    assert torch.is_grad_enabled()
    slope, value = gradient_and_value(energy)(w, lam)
    assert not slope.requires_grad
    assert not value.requires_grad
    with torch.no_grad():
        assert not gradient(energy)(w.clone().requires_grad_(), lam).requires_grad


def test_products_can_be_differentiated_by_all_that_they_depend_on() -> None:
    w, lam, v, u = vectors(4)

    def product(w: Tensor, v: Tensor) -> Any:
        return vjp(lambda w: w.sin() * lam, w)[1](v)[0]

    with torch.no_grad():
        by_w, by_v = vjp(product, w, v)[1](u)
    torch.testing.assert_close(by_w, -u * v * w.sin() * lam)
    torch.testing.assert_close(by_v, u * w.cos() * lam)


@pytest.mark.usefixtures("mode")
def test_what_a_gradient_captures_is_no_constant() -> None:
    w, lam, v = vectors(3)
    captured = vjp(lambda lam: gradient(lambda w: energy(w, lam))(w), lam)[1](v)
    torch.testing.assert_close(captured, vjp(lambda lam: gradient(energy)(w, lam), lam)[1](v))


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize("count", [1, 3])
def test_tangents_go_through_solvers_whose_backward_pass_keeps_its_factors(count: int) -> None:
    w, lam, *rest = vectors(2 + count)
    generator = torch.Generator().manual_seed(1)
    b = torch.randn(3, 3, dtype=torch.float64, generator=generator)

    def inner(w: Tensor, lam: Tensor) -> Tensor:
        return torch.linalg.solve(torch.outer(w, w) + torch.diag(lam.exp()), b).square().sum()

    along = torch.stack(rest)
    _, slopes = jvps(lambda w: gradient(inner)(w, lam), (w,), (along,))
    hessian = torch.stack([vjp(lambda w: gradient(inner)(w, lam), w)[1](v)[0] for v in rest])  # symmetric
    torch.testing.assert_close(slopes, hessian)


def test_cotangents_belong_to_outputs_by_their_names() -> None:
    (x,) = vectors(1)
    zeros, ones = torch.zeros_like(x), torch.ones_like(x)
    with torch.no_grad():
        _, pull = vjp(lambda w: {"b": 2 * w, "a": 3 * w}, x)
    torch.testing.assert_close(pull({"a": zeros, "b": ones})[0], 2 * ones)
    with pytest.raises(ValueError, match="do not fit"):
        pull({"a": zeros, "c": ones})


@pytest.mark.parametrize("grad", [False, True])
def test_a_gradient_is_that_of_a_scalar(grad: bool) -> None:
    (x,) = vectors(1)
    with torch.set_grad_enabled(grad), pytest.raises((ValueError, RuntimeError), match="scalar"):
        gradient(lambda w: 2 * w)(x)


@pytest.mark.parametrize("take", [vjp, vjp_once, lambda function, x: gradient(function)(x)])
def test_inference_mode_is_refused(take: Callable[..., object]) -> None:
    (x,) = vectors(1)
    with torch.inference_mode(), pytest.raises(RuntimeError, match="inference mode"):
        take(lambda w: w.square().sum(), x)
