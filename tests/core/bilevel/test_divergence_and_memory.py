"""What every method has to do beside the right number: show divergence, and keep no more than it promises."""

import gc
import sys
import weakref
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.dynamics import full_batch, gradient_descent
from core.bilevel.hypergradients import exact, forward, random_forward, reverse
from core.bilevel.iterates import Iterates
from core.bilevel.problem import Dynamics, Method, Problem, State, Tree
from tests.core.bilevel.methods import METHODS


def inner(w: Any, lam: Any) -> Tensor:
    """Quartic, so that a diverging iterate makes the Hessian diverge too."""
    return 0.5 * ((w - lam) ** 2).sum() + 0.25 * (w**4).sum()


def outer(w: Any, lam: Any) -> Tensor:
    return 0.5 * (w**2).sum()


PROBLEM = Problem(inner, outer, lambda lam: 0 * lam)
LAM = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def descent(rate: float) -> Dynamics:
    return gradient_descent(full_batch(inner), PROBLEM.init, rate=rate)


@pytest.mark.parametrize("quartic", [True, False])
@pytest.mark.parametrize("name", METHODS)
def test_a_diverging_inner_problem_gives_a_hypergradient_that_is_not_finite(name: str, quartic: bool) -> None:
    problem, phi, steps = PROBLEM, descent(10.0), 30
    if not quartic:  # here the Hessian stays finite, and w overflows
        problem = Problem(lambda w, lam: 0.5 * ((w - lam) ** 2).sum(), outer, PROBLEM.init)
        phi, steps = gradient_descent(full_batch(problem.inner), problem.init, rate=1e4), 100
    found = METHODS[name](problem, phi, LAM, steps=steps)
    assert not torch.isfinite(trees.norm(found.grad))
    assert not torch.isfinite(found.outer_loss)
    assert not torch.isfinite(found.diagnostics["inner_objective_end"])


@pytest.mark.parametrize("name", METHODS)
def test_the_same_problem_with_a_small_rate_is_finite(name: str) -> None:
    found = METHODS[name](PROBLEM, descent(0.05), LAM, steps=30)
    assert torch.isfinite(found.grad).all()
    assert found.grad.abs().min() > 0


@pytest.mark.parametrize(
    ("method", "kept"),
    [
        (reverse, 99),  # s_99 is live
        (partial(reverse, segment=10), 18),  # the starts of 10 segments, the rest of the last one
        (partial(reverse, segment="auto"), 18),
        (partial(reverse, snapshots=5), 5),
        (partial(reverse, truncate=7), 6),
        (partial(reverse, truncate=20, segment=5), 7),
        (METHODS["cg"], 0),
    ],
)
def test_iterates_after_the_walk_forward(method: Method, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the outer objective is first called only copies of so many, s_T and s_{T-1} are there, none with a graph."""
    phi = descent(0.05)
    iterates: list[weakref.ref[Tensor]] = []
    counts: list[int] = []
    stacks: list[Iterates] = []

    def stack() -> Iterates:
        stacks.append(Iterates())
        return stacks[-1]

    monkeypatch.setattr(sys.modules[reverse.__module__], "Iterates", stack)

    def step(t: int, s: State, lam: Tree) -> State:
        stepped = phi.step(t, s, lam)
        assert isinstance(stepped.w, Tensor)
        if not counts:
            assert not stepped.w.requires_grad
            iterates.append(weakref.ref(stepped.w))
        return stepped

    def counting(w: Any, lam: Any) -> Tensor:
        if not counts:
            assert sum(iterate() is not None for iterate in iterates) <= 2
        counts.append(sum(map(len, stacks)))
        return outer(w, lam)

    found = method(
        Problem(inner, counting, PROBLEM.init), Dynamics(phi.init, step), LAM.clone().requires_grad_(), steps=100
    )
    assert len(iterates) == 100
    assert counts[0] == kept
    assert not any(leaf.requires_grad for leaf in trees.leaves(found.grad))


@pytest.mark.parametrize(
    "method", [forward, partial(random_forward, seed=0, k=0), METHODS["cg"], partial(reverse, truncate=1)]
)
def test_memory_independent_of_the_number_of_steps(method: Method) -> None:
    """No more tensors are alive after ninety steps than after ten."""
    phi = descent(0.05)
    alive: dict[int, int] = {}

    def step(t: int, s: State, lam: Tree) -> State:
        if t in (10, 90):
            gc.collect()
            alive.setdefault(t, sum(issubclass(type(thing), Tensor) for thing in gc.get_objects()))
        return phi.step(t, s, lam)

    method(PROBLEM, Dynamics(phi.init, step), LAM, steps=100)
    assert alive[90] <= alive[10]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (partial(reverse, segment=0), "segment is 0"),
        (partial(reverse, truncate=-1), "truncate is -1"),
        (partial(reverse, snapshots=0), "snapshots is 0"),
        (partial(reverse, segment=2, snapshots=2), "leave one of them out"),
        (exact, "no closed form"),
    ],
)
def test_impossible_knobs_are_refused(method: Method, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method(PROBLEM, descent(0.1), LAM, steps=3)


@pytest.mark.parametrize("name", METHODS)
def test_an_embedding_or_negative_steps_are_refused_by_every_method(name: str) -> None:
    if not name.startswith("forward"):  # forward mode takes an embedding as it is
        with pytest.raises(ValueError, match="through_embedding"):
            METHODS[name](Problem(inner, outer, PROBLEM.init, embed=lambda lam: lam), descent(0.1), LAM, steps=3)
    with pytest.raises(ValueError, match="steps is -1"):
        METHODS[name](PROBLEM, descent(0.1), LAM, steps=-1)
