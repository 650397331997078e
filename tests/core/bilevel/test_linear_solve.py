"""Linear solvers against torch.linalg.solve, on tree-valued systems."""

import math
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
    "cg_normal": partial(linear_solve.cg_normal, iterations=200, tolerance=1e-13),
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
    symmetric = name in ("cg", "cg_normal")
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
    assert solution.iterations == iterations + (solver is linear_solve.cg)  # its residual takes one more


def conditioned(condition: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A symmetric matrix [100, 100] with eigenvalues from 1 / condition to 1, and a right-hand side."""
    generator = torch.Generator().manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(100, 100, generator=generator, dtype=torch.float64))
    matrix = q @ torch.diag(torch.logspace(-math.log10(condition), 0, 100, dtype=torch.float64)) @ q.T
    return matrix.to(dtype), torch.randn(100, generator=generator, dtype=torch.float64).to(dtype)


def true_residual(matrix: Tensor, x: Tree, b: Tensor) -> float:
    """In double precision."""
    assert isinstance(x, Tensor)
    left = b.double() - matrix.double() @ x.double()
    return float(torch.linalg.vector_norm(left) / torch.linalg.vector_norm(b.double()))


CONDITIONS = pytest.mark.parametrize("condition", [1e4, 1e6])
SCALES = 1 + torch.arange(100) / 1000
LONG: dict[str, Solver] = {
    "cg": partial(linear_solve.cg, iterations=1000),
    "cg_normal": partial(linear_solve.cg_normal, iterations=1000),
    "preconditioned": partial(linear_solve.cg, iterations=1000, preconditioner=lambda r: r / SCALES),  # type: ignore[operator]
    "neumann": partial(linear_solve.neumann, iterations=1000),
    "fixed_point": partial(linear_solve.fixed_point, iterations=1000),
}


@CONDITIONS
@pytest.mark.parametrize("name", LONG)
def test_in_single_precision_the_residual_is_that_of_what_it_returns(name: str, condition: float) -> None:
    matrix, b = conditioned(condition, torch.float32)
    solution = LONG[name](lambda x: matrix @ x, b)  # type: ignore[operator]
    floor = 1e-4 if condition == 1e4 else 1e-2  # of the rounding of the product that measures it
    assert float(solution.residual) == pytest.approx(true_residual(matrix, solution.x, b), rel=0.1, abs=floor)


@CONDITIONS
def test_where_rounding_leads_the_recurrence_astray_the_residual_is_the_true_one(condition: float) -> None:
    matrix, b = conditioned(condition, torch.float32)
    once = linear_solve.cg_once(lambda x: matrix @ x, b, iterations=5000, tolerance=1e-6)  # type: ignore[operator]
    assert once.residual <= 1e-6
    solution = linear_solve.cg(lambda x: matrix @ x, b, iterations=once.iterations)  # type: ignore[operator]
    expected = true_residual(matrix, solution.x, b)
    assert float(solution.residual) == pytest.approx(expected, rel=0.1)
    assert expected > 1e-4
    assert solution.iterations == once.iterations + 1


def test_conjugate_gradient_starts_again_where_products_are_left() -> None:
    matrix, b = conditioned(1e4, torch.float32)
    once = linear_solve.cg_once(lambda x: matrix @ x, b, iterations=5000, tolerance=1e-6)  # type: ignore[operator]
    again = linear_solve.cg(lambda x: matrix @ x, b, iterations=5000)  # type: ignore[operator]
    assert true_residual(matrix, again.x, b) < true_residual(matrix, once.x, b) / 4


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
    assert solution.iterations == 3 + 1  # and one for the residual


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
    assert solution.residual == pytest.approx(1)  # and says that nothing is solved


# --- warm starts, damping, preconditioning, normal equations, refinement, samples -------------------------------------


def vector(seed: int) -> Tensor:
    return torch.randn(6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_start_near_the_solution_changes_what_it_costs_and_nothing_else(name: str) -> None:
    matrix, operator = system(0, 0.05)
    b = 1e3 * vector(1)
    expected = torch.linalg.solve(matrix, b)
    cold = SOLVERS[name](operator, tree(b))
    warm = SOLVERS[name](operator, tree(b), tree(expected + 1e-7 * vector(2)))
    torch.testing.assert_close(trees.ravel(warm.x)[0], expected, rtol=1e-9, atol=1e-9)
    if name == "fixed_point":
        assert warm.iterations < cold.iterations
    solved = SOLVERS[name](operator, tree(b), tree(expected))
    assert solved.residual < 1e-12


@pytest.mark.parametrize("solver", [linear_solve.cg, linear_solve.cg_normal, linear_solve.fixed_point])
def test_an_exact_start_takes_no_iteration(solver: Any) -> None:
    matrix, operator = system(0, 0.2)
    b = vector(1)
    solution = solver(operator, tree(b), tree(torch.linalg.solve(matrix, b)), tolerance=1e-10)
    assert solution.iterations <= 2
    assert solution.residual < 1e-10


@pytest.mark.parametrize("solver", [linear_solve.cg, linear_solve.neumann, linear_solve.fixed_point])
def test_a_start_of_zeros_is_no_start(solver: Any) -> None:
    _, operator = system(0, 0.2)
    b = tree(vector(1))
    cold, zeros = solver(operator, b), solver(operator, b, trees.zeros_like(b))
    assert all(torch.equal(u, v) for u, v in zip(trees.leaves(cold.x), trees.leaves(zeros.x), strict=True))


def test_normal_equations_solve_what_is_not_definite_in_at_most_the_products_asked_for() -> None:
    diagonal = torch.tensor([1.0, -1, 2, -2, 3, -3], dtype=torch.float64)
    b = vector(0)
    assert linear_solve.cg(lambda x: diagonal * x, b).residual > 1e-3  # type: ignore[operator]
    solution = linear_solve.cg_normal(lambda x: diagonal * x, b, tolerance=1e-12)  # type: ignore[operator]
    torch.testing.assert_close(solution.x, b / diagonal)
    assert solution.iterations <= 2 * 3 + 2  # three distinct squares
    for iterations in (1, 2, 3, 4):
        assert linear_solve.cg_normal(lambda x: diagonal * x, b, iterations=iterations).iterations <= iterations + 1  # type: ignore[operator]


def test_a_good_preconditioner_saves_products_and_a_perfect_one_nearly_all() -> None:
    scales = torch.logspace(0, 6, 6, dtype=torch.float64)
    matrix = scales.sqrt()[:, None] * system(0, 0.2)[0] * scales.sqrt()
    b = vector(1)
    plain = linear_solve.cg(lambda x: matrix @ x, b, tolerance=1e-10, iterations=1000)  # type: ignore[operator]
    scaled = linear_solve.cg(
        lambda x: matrix @ x,  # type: ignore[operator]
        b,
        tolerance=1e-10,
        preconditioner=lambda r: r / scales,  # type: ignore[operator]
    )
    perfect = linear_solve.cg(
        lambda x: matrix @ x,  # type: ignore[operator]
        b,
        tolerance=1e-10,
        preconditioner=lambda r: torch.linalg.solve(matrix, r),
    )
    for solution in (plain, scaled, perfect):
        torch.testing.assert_close(solution.x, torch.linalg.solve(matrix, b), rtol=1e-8, atol=1e-8)
        assert solution.residual <= 1e-10
    assert perfect.iterations <= 3 < scaled.iterations < plain.iterations


@pytest.mark.parametrize("name", SOLVERS)
def test_damping_adds_to_the_diagonal(name: str) -> None:
    matrix, operator = system(0, 0.0)  # singular
    b = vector(1)
    halved = linear_solve.damped(lambda x: trees.scale(0.5, operator(x)), 0.25)
    solution = SOLVERS[name](halved, tree(b))
    expected = torch.linalg.solve(0.5 * matrix + 0.25 * torch.eye(6, dtype=torch.float64), b)
    torch.testing.assert_close(trees.ravel(solution.x)[0], expected, rtol=1e-9, atol=1e-9)
    assert linear_solve.damped(operator, 0.0) is operator


def test_refinement_reaches_double_precision_with_single_precision_inside() -> None:
    matrix, _ = system(0, 1e-3)
    b = vector(1)
    low = matrix.float()

    def approximate(r: Tree, enough: float, left: float) -> linear_solve.Solution:
        assert isinstance(r, Tensor)
        found = linear_solve.cg(lambda x: low @ x, r.float(), tolerance=1e-3)  # type: ignore[operator]
        assert isinstance(found.x, Tensor)
        return found._replace(x=found.x.double())

    solution = linear_solve.refined(lambda x: matrix @ x, b, approximate=approximate, tolerance=1e-12)  # type: ignore[operator]
    assert solution.residual <= 1e-12
    torch.testing.assert_close(solution.x, torch.linalg.solve(matrix, b), rtol=1e-8, atol=1e-8)
    single = linear_solve.cg(lambda x: low @ x, b.float(), tolerance=1e-12, iterations=200)  # type: ignore[operator]
    assert torch.linalg.vector_norm(b - matrix @ single.x.double()) > 1e-9  # type: ignore[union-attr]


def test_refinement_stops_where_it_no_longer_helps() -> None:
    b = vector(1)
    useless = linear_solve.Solution(torch.zeros_like(b), b.norm(), 1)
    solution = linear_solve.refined(lambda x: x, b, approximate=lambda *_: useless)
    assert solution.residual == pytest.approx(1)
    assert solution.iterations == 2


@pytest.mark.parametrize("bad", [-3.0, math.nan])
def test_a_later_round_of_refinement_that_makes_it_worse_is_not_taken(bad: float) -> None:
    b = vector(1)
    factors = iter([0.75, bad])

    def approximate(r: Tree, enough: float, left: float) -> linear_solve.Solution:
        return linear_solve.Solution(trees.scale(next(factors), r), b.norm(), 5)

    solution = linear_solve.refined(lambda x: x, b, approximate=approximate)
    torch.testing.assert_close(solution.x, 0.75 * b)
    assert solution.residual == pytest.approx(0.25)
    assert solution.iterations == 12  # what the round took is counted all the same


def test_samples_are_unbiased_and_their_mean_converges() -> None:
    """With A_j drawn from few matrices: the expectation over all sequences is the iteration with their mean."""
    parts = [system(seed, 0.3)[0] for seed in range(3)]
    mean = torch.stack(parts).mean(0)
    b = vector(1)

    def solve(sequence: list[int], rate: float) -> Tensor:
        found = linear_solve.stochastic(
            lambda x: mean @ x,  # type: ignore[operator]
            b,
            sample=lambda j: lambda x: parts[sequence[j]] @ x,  # type: ignore[operator]
            iterations=len(sequence),
            rate=rate,
        )
        assert isinstance(found.x, Tensor)
        assert torch.isclose(found.residual, torch.linalg.vector_norm(b - mean @ found.x) / b.norm())
        assert found.iterations == len(sequence) + 1
        return found.x

    every = [solve([i, j, k], 0.5) for i in range(3) for j in range(3) for k in range(3)]
    iterates = [torch.zeros_like(b)]
    for _ in range(3):
        iterates.append(iterates[-1] + 0.5 * (b - mean @ iterates[-1]))
    torch.testing.assert_close(torch.stack(every).mean(0), (iterates[2] + iterates[3]) / 2, rtol=1e-12, atol=1e-12)

    expected = torch.linalg.solve(mean, b)
    draws = torch.randint(3, (4000,), generator=torch.Generator().manual_seed(0)).tolist()
    errors = [float(torch.linalg.vector_norm(solve(draws[:length], 0.3) - expected)) for length in (40, 400, 4000)]
    assert errors[2] < 0.3 * errors[0]
    assert errors[2] < 0.02 * expected.norm()
