from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.derivatives import Pull, gradient, gradient_and_value, jvps, vjp, vjp_once, vjp_with_aux


def vectors(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(3, dtype=torch.float64, generator=generator) for _ in range(count)]


def several(x: Tensor, given: dict[str, Tensor]) -> Any:
    """Outputs that depend on both, on one of the arguments as it is, and on none."""
    return {"product": x * given["y"].exp(), "passed on": given["y"], "constant": torch.ones(2)}


def energy(w: Tensor, lam: Tensor) -> Tensor:
    return (w.exp() * lam).sum() + (w * w).sum() * lam.prod()


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


def test_a_pull_can_be_called_again_and_within_vmap() -> None:
    w, lam, first, second = vectors(4)
    _, pull = vjp(gradient(energy), w, lam)
    both = torch.func.vmap(lambda v: pull(v)[1])(torch.stack([first, second]))
    torch.testing.assert_close(both, torch.stack([pull(first)[1], pull(second)[1]]))


def test_what_is_not_differentiated_leaves_without_its_graph() -> None:
    w, lam, v = vectors(3)
    value, pull, aux = vjp_with_aux(lambda w: (w * lam, {"square": w * w}), w)
    torch.testing.assert_close(aux, {"square": w * w})
    torch.testing.assert_close(pull(v)[0], v * lam)
    assert not any(leaf.requires_grad for leaf in trees.leaves((value, aux)))


def test_a_function_of_nothing_has_derivatives_of_zero() -> None:
    w, lam = vectors(2)
    assert trees.leaves(vjp(lambda w: torch.ones(2), w)[1](torch.ones(2))[0])[0].eq(0).all()
    assert gradient(lambda w, lam: lam.sum())(w, lam).eq(0).all()


@pytest.mark.parametrize("argnums", [0, 1, (1, 0)])
def test_gradients_are_those_of_torch_func(argnums: int | tuple[int, ...]) -> None:
    w, lam = vectors(2)
    expected = torch.func.grad_and_value(energy, argnums)(w, lam)
    torch.testing.assert_close(gradient_and_value(energy, argnums)(w, lam), expected)
    torch.testing.assert_close(gradient(energy, argnums)(w, lam), expected[0])


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


def test_a_gradient_within_transformations_is_theirs() -> None:
    w, lam, v = vectors(3)
    tangent = torch.func.jvp(gradient(energy), (w, lam), (v, v))[1]
    torch.testing.assert_close(tangent, torch.func.jvp(torch.func.grad(energy), (w, lam), (v, v))[1])
    stacked = torch.func.vmap(gradient(energy), in_dims=(0, None))(torch.stack([w, v]), lam)
    torch.testing.assert_close(stacked, torch.stack([gradient(energy)(w, lam), gradient(energy)(v, lam)]))


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


def through_everything(w: Tensor, lam: Tensor) -> Any:
    """A function that takes derivatives of all kinds itself."""
    slope, value = gradient_and_value(energy)(w, lam)
    energy_of_slope, pull, aux = vjp_with_aux(lambda w: (w.sin() * lam, (w * lam,)), slope)
    return {"value": value, "pulled": pull(w)[0], "energy": energy_of_slope, "aux": aux, "constant": torch.ones(2)}


@pytest.mark.parametrize("count", [1, 3])
def test_derivatives_along_one_tangent_or_many(count: int) -> None:
    w, lam, *rest = vectors(2 + 2 * count)
    along = torch.stack(rest[:count]), torch.stack(rest[count:])
    value, slopes = jvps(through_everything, (w, lam), along)
    torch.testing.assert_close(value, through_everything(w, lam))

    def entries(w: Tensor, lam: Tensor) -> Tensor:
        return torch.cat([leaf.reshape(-1) for leaf in trees.leaves(through_everything(w, lam))])

    step = 1e-6
    for i in range(count):
        difference = entries(w + step * along[0][i], lam + step * along[1][i]) - entries(
            w - step * along[0][i], lam - step * along[1][i]
        )
        found = torch.cat([leaf[i].reshape(-1) for leaf in trees.leaves(slopes)])
        torch.testing.assert_close(found, difference / (2 * step), rtol=1e-6, atol=1e-7)
    assert not any(leaf.requires_grad for leaf in trees.leaves((value, slopes)))
