"""The kernels of the walk against the loops in float64: on a CUDA device or, with TRITON_INTERPRET=1, in Triton's
interpreter."""

import os
from functools import partial

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", reason="torch has no Triton here")
if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("no CUDA device; TRITON_INTERPRET=1 runs these in Triton's interpreter", allow_module_level=True)

from core.bilevel import softmax_heads, softmax_walk, softmax_walk_triton
from core.bilevel.dynamics import full_batch, gradient_descent
from core.bilevel.problem import Problem

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIZES = [(1, 2, 2), (4, 5, 5), (2, 5, 25), (3, 20, 20), (2, 20, 100), (1, 32, 128)]
"""Tasks, classes, examples."""


def drawn(tasks: int, way: int, examples: int, rates: int, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Kernel, labels, rates and dE/dA_T in float64; the same walk at every scale."""
    generator = torch.Generator().manual_seed(tasks + way + examples)
    x = torch.randn(tasks, examples, 30, generator=generator, dtype=torch.float64)
    labels = torch.nn.functional.one_hot(torch.arange(examples) % way, way).mT.expand(tasks, -1, -1)
    steady = 0.1 * torch.rand(rates, generator=generator, dtype=torch.float64)
    bar = torch.randn(tasks, way, examples, generator=generator, dtype=torch.float64)
    return scale**2 * x @ x.mT, labels.to(x), steady / scale**2, bar


def off(found: Tensor, expected: Tensor) -> float:
    """Relative error."""
    return float((found.double().cpu() - expected).norm() / expected.norm())


def slopes(adjoint: softmax_walk.Adjoint) -> Tensor:
    """dE/deta_t [T]."""
    assert adjoint.rates is not None
    return adjoint.rates


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize(("rates", "l2"), [(1, 0.0), (1, 0.1), (7, 0.0), (7, 0.1)])
@pytest.mark.parametrize("sizes", SIZES)
def test_the_kernels_are_the_loops_to_the_rounding_of_float32(
    sizes: tuple[int, int, int], rates: int, l2: float, scale: float
) -> None:
    kernel, targets, eta, bar = drawn(*sizes, rates, scale)
    given = [part.to(DEVICE, torch.float32) for part in (kernel, targets, eta)]
    l2 *= scale**2
    found, expected = softmax_walk_triton.walk(*given, l2, 7), softmax_walk.walk(kernel, targets, eta, l2, 7)
    assert off(found.iterates, expected.iterates) < 1e-6
    for size in (1e-12, 1.0, 1e6):  # float16 holds neither end of them
        back, known = found.pull((size * bar).to(DEVICE, torch.float32), True), expected.pull(size * bar, True)
        assert off(back.kernel, known.kernel) < 2e-6
        assert off(slopes(back), slopes(known)) < 2e-6


def test_what_explodes_is_as_large_as_in_the_loops() -> None:
    kernel, targets, _, bar = drawn(2, 5, 25, 1)
    eta = torch.full((1,), 0.1, dtype=torch.float64)  # every step makes dE/dA ten times as large, of the other sign
    given = [part.to(DEVICE, torch.float32) for part in (kernel, targets, eta)]
    found, expected = softmax_walk_triton.walk(*given, 110.0, 14), softmax_walk.walk(kernel, targets, eta, 110.0, 14)
    back, known = found.pull(bar.to(DEVICE, torch.float32), True), expected.pull(bar, True)
    assert slopes(known)[0].abs() > 1e9 * bar.norm()
    assert off(slopes(back)[0], slopes(known)[0]) < 1e-4


def test_nothing_comes_of_nothing() -> None:
    kernel, targets, eta, bar = (part.to(DEVICE, torch.float32) for part in drawn(2, 5, 5, 1))
    found = softmax_walk_triton.walk(0 * kernel, targets, eta, 0.0, 3)
    moves = found.iterates.diff(dim=1)  # every class is as likely as another at each step
    torch.testing.assert_close(moves, eta / 5 * (targets - 1 / 5).unsqueeze(1).expand_as(moves))
    assert not found.pull(0 * bar, False).kernel.any()


def test_numbers_that_are_not_finite_show() -> None:
    kernel, targets, eta, bar = (part.to(DEVICE, torch.float32) for part in drawn(2, 5, 5, 1))
    assert not softmax_walk_triton.walk(kernel * torch.inf, targets, eta, 0.0, 3).iterates.isfinite().all()
    assert (
        not softmax_walk_triton.walk(kernel, targets, eta, 0.0, 3).pull(bar * torch.nan, False).kernel.isfinite().all()
    )


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a CUDA device")
@pytest.mark.parametrize(("way", "examples", "steps"), [(5, 5, 16), (20, 100, 16), (33, 40, 4), (5, 130, 4), (5, 5, 0)])
def test_the_dual_walk_on_cuda_is_that_in_float64(way: int, examples: int, steps: int) -> None:
    """With kernels of its own and, for larger tasks, without."""
    labels = torch.arange(examples) % way
    generator = torch.Generator().manual_seed(0)
    z = {name: torch.randn(3, examples, 8, generator=generator, dtype=torch.float64) for name in ("support", "query")}

    def on(device: str, dtype: torch.dtype) -> dict[str, Tensor]:
        known = labels.to(device)
        inner = partial(softmax_heads.inner_objective, support_labels=known)
        init = partial(softmax_heads.init, way=way)
        problem = Problem(inner, partial(softmax_heads.outer_objective, query_labels=known), init)
        dynamics = gradient_descent(full_batch(inner), init, rate=0.1)
        given = {name: part.to(device, dtype) for name, part in z.items()}
        found = softmax_heads.dual_walk(
            problem, dynamics, given, steps=steps, support_labels=known, query_labels=known, way=way, rate=0.1
        )
        assert isinstance(found.grad, dict)
        return found.grad  # type: ignore[return-value]

    found, again = on("cuda", torch.float32), on("cuda", torch.float32)
    for name, expected in on("cpu", torch.float64).items():
        assert torch.equal(found[name], again[name])
        if steps:
            assert off(found[name], expected) < 1e-5
        else:
            assert not found[name].any()
