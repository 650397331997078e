"""Linear solvers against torch.linalg.solve, on tree-valued systems."""

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.bilevel import linear_solve, trees
from core.bilevel.linear_solve import Operator, Solver
from core.bilevel.problem import State, Tree

SOLVERS: dict[str, Solver] = {
    "cg": partial(linear_solve.cg, iterations=200, tolerance=1e-13),
    "neumann": partial(linear_solve.neumann, iterations=500),
    "fixed_point": partial(linear_solve.fixed_point, iterations=500, tolerance=1e-13),
    "dense": linear_solve.dense,
}


def tree(vector: Tensor) -> Tree:
    """A tree [6] -> a scalar, a matrix and a vector in a State."""
    return State({"a": vector[0], "b": vector[1:5].view(2, 2)}, [vector[5:]])


def system(seed: int, low: float, *, symmetric: bool = True) -> tuple[Tensor, Operator]:
    """A matrix with eigenvalues (or singular values) in [low, 1] and ||I - A|| < 1, and its operator on trees."""
    generator = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))
    matrix = q @ torch.diag(torch.linspace(low, 1.0, 6, dtype=torch.float64)) @ q.T
    if not symmetric:
        skew = torch.randn(6, 6, generator=generator, dtype=torch.float64)
        matrix = matrix + 0.1 * (skew - skew.T) / torch.linalg.matrix_norm(skew, 2)
    return matrix, lambda x: tree(matrix @ trees.ravel(x)[0])


@pytest.mark.parametrize("name", SOLVERS)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), size=st.sampled_from([1e-8, 1.0, 1e8]))
def test_solves(name: str, seed: int, size: float) -> None:
    symmetric = name == "cg"
    matrix, operator = system(seed, 0.2, symmetric=symmetric)
    b = size * torch.randn(6, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    solution = SOLVERS[name](operator, tree(b))
    x = trees.ravel(solution.x)[0]
    expected = torch.linalg.solve(matrix, b)
    assert torch.linalg.vector_norm(x - expected) <= 1e-10 * torch.linalg.vector_norm(expected)
    assert isinstance(solution.x, State)
    assert solution.residual < 1e-11
    assert solution.iterations > 0


@pytest.mark.parametrize("iterations", [1, 2, 5])
@pytest.mark.parametrize("solver", [linear_solve.cg, linear_solve.neumann, linear_solve.fixed_point])
def test_reports_the_residual_of_what_it_returns(solver: Any, iterations: int) -> None:
    matrix, operator = system(0, 0.05)
    b = torch.ones(6, dtype=torch.float64)
    solution = solver(operator, tree(b), iterations=iterations)
    residual = torch.linalg.vector_norm(b - matrix @ trees.ravel(solution.x)[0]) / torch.linalg.vector_norm(b)
    assert torch.isclose(solution.residual, residual, rtol=1e-9)
    assert 1e-6 < residual < 1
    assert solution.iterations == iterations


def test_stops_at_the_tolerance() -> None:
    _, operator = system(0, 0.2)
    b = tree(torch.ones(6, dtype=torch.float64))
    for solver in (linear_solve.cg, linear_solve.fixed_point):
        loose, tight = solver(operator, b, tolerance=1e-2), solver(operator, b, tolerance=1e-9)
        assert loose.iterations < tight.iterations
        assert tight.residual <= 1e-9 < loose.residual <= 1e-2


def test_cg_ends_in_as_many_products_as_there_are_distinct_eigenvalues() -> None:
    q, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    matrix = q @ torch.diag(torch.tensor([1.0, 1, 1, 4, 4, 9], dtype=torch.float64)) @ q.T
    solution = linear_solve.cg(lambda x: matrix @ x, torch.ones(6, dtype=torch.float64), tolerance=1e-10)
    assert solution.iterations == 3


@pytest.mark.parametrize("name", SOLVERS)
def test_zero_gives_zero_and_what_is_not_finite_gives_nan(name: str) -> None:
    _, operator = system(0, 0.2)
    zeros = torch.zeros(6, dtype=torch.float64)
    solution = SOLVERS[name](operator, tree(zeros))
    assert torch.equal(trees.ravel(solution.x)[0], zeros)
    assert solution.residual == 0
    for wrong in (torch.inf, torch.nan):
        b = tree(torch.cat([zeros[1:], torch.tensor([wrong], dtype=torch.float64)]))
        assert trees.ravel(SOLVERS[name](operator, b).x)[0].isnan().all()
        nowhere: Operator = lambda x, wrong=wrong: trees.scale(wrong, x)  # noqa: E731
        assert not torch.isfinite(trees.norm(SOLVERS[name](nowhere, tree(zeros + 1)).x))


def test_a_small_right_hand_side_in_single_precision_does_not_underflow() -> None:
    b = torch.full((3,), 1e-22)
    for name, solver in SOLVERS.items():
        solution = solver(lambda x: trees.scale(0.5, x), b)
        assert torch.allclose(solution.x / 1e-22, torch.full((3,), 2.0), rtol=1e-5), name  # type: ignore[operator]


def test_stacked_tasks_are_one_block_diagonal_system() -> None:
    generator = torch.Generator().manual_seed(0)
    blocks = torch.stack([system(seed, 0.2)[0] for seed in range(4)])
    b = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    b[2] = 0  # a task that is solved already
    for name, solver in SOLVERS.items():
        solution = solver(lambda x: torch.einsum("bij,bj->bi", blocks, x), b)
        assert isinstance(solution.x, Tensor)
        assert torch.allclose(solution.x, torch.linalg.solve(blocks, b), rtol=1e-9, atol=1e-12), name


def test_dense_says_nan_where_the_system_is_singular() -> None:
    solution = linear_solve.dense(lambda x: trees.scale(0.0, x), torch.ones(3))
    assert solution.x.isnan().all()  # type: ignore[union-attr]
    assert solution.residual.isnan()


def test_cg_stops_where_there_is_no_positive_curvature() -> None:
    solution = linear_solve.cg(lambda x: trees.scale(-1.0, x), torch.ones(3))
    assert torch.equal(solution.x, torch.zeros(3))  # type: ignore[arg-type]
    assert solution.residual == 1  # and says that nothing is solved
