from collections.abc import Callable

import pytest
import torch

from core.bilevel import trees
from core.bilevel.problem import Hypergradient, Tree
from core.build import Built
from core.problems.quadratic import draw
from core.spec.problems import Quadratic

GD = {"kind": "gradient_descent", "rate": 1.0}


def test_spectrum_is_as_the_spec_says() -> None:
    A, B, b, c = draw(Quadratic(inner_dimension=6, outer_dimension=3, condition=50), seed=1)
    eigenvalues = torch.linalg.eigvalsh(A)
    assert eigenvalues[0] == pytest.approx(1 / 50)
    assert eigenvalues[-1] == pytest.approx(1)
    assert (B.shape, b.shape, c.shape) == ((6, 3), (6,), (6,))
    assert torch.equal(A, draw(Quadratic(inner_dimension=6, outer_dimension=3, condition=50), seed=1)[0])


def test_the_solution_is_stationary(built: Callable[..., Built]) -> None:
    problem, _ = built({"kind": "quadratic"}).instance.at(0)
    assert problem.solution is not None
    lam: Tree = {"lam": torch.ones(5, dtype=torch.float64)}
    gradient = torch.func.grad(problem.inner)(problem.solution(lam), lam)
    assert trees.norm(gradient) < 1e-12


def test_many_steps_of_every_method_tend_to_the_closed_form(hypergradient: Callable[..., Hypergradient]) -> None:
    exact = hypergradient({"kind": "quadratic"}, {"hypergradient": {"kind": "exact"}}).grad
    for method in (
        {"kind": "reverse"},
        {"kind": "forward"},
        {"kind": "unrolled"},
        {"kind": "implicit", "solver": {"kind": "dense"}},
    ):
        algorithm = {"steps": 400, "dynamics": GD, "hypergradient": method}
        found = hypergradient({"kind": "quadratic"}, algorithm).grad
        torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("damping", [0.0, 0.1])
@pytest.mark.parametrize("outer", [3, 30])
def test_the_minimum_is_reached_and_not_passed(built: Callable[..., Built], damping: float, outer: int) -> None:
    problem = {"kind": "quadratic", "inner_dimension": 10, "outer_dimension": outer, "damping": damping, "condition": 3}
    algorithm = {
        "hypergradient": {"kind": "exact"},
        "optimizer": {"kind": "momentum", "rate": 0.02},
        "hyperiterations": 1,
    }
    found = built(problem, algorithm)
    state = found.algorithm.init(found.instance.initial)
    for k in range(600):
        state, _ = found.algorithm.step(k, state)
    start = found.instance.evaluate(found.instance.initial).test
    end = found.instance.evaluate(state.lam).test
    assert -1e-9 < end["suboptimality"].mean < 1e-3 * start["suboptimality"].mean
    assert end["loss"].mean - end["suboptimality"].mean == pytest.approx(found.instance.report(state.lam)["minimum"])
