"""Implicit differentiation from hyperiteration to hyperiteration, damped, stopped early, on minibatches."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from core.bilevel import linear_solve, optimizers, trees
from core.bilevel.algorithms import nested
from core.bilevel.dynamics import full_batch, gradient_descent, heavy_ball
from core.bilevel.hypergradients import dynamics_fixed_point, exact, implicit, stationarity
from core.bilevel.hypergradients.implicit import SolverAt, implicit_at
from core.bilevel.hypergradients.implicit_series import exponential, implicit_series, polynomial
from core.bilevel.hypergradients.inner import run_until
from core.bilevel.hypergradients.sampled import on_minibatches
from core.bilevel.problem import Dynamics, MethodSeries, Problem, State

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(60, 8, generator=GENERATOR, dtype=torch.float64) * torch.logspace(-1, 0, 8, dtype=torch.float64)
Y = torch.randn(60, generator=GENERATOR, dtype=torch.float64)
LAM: Any = {"log": torch.full((8,), -4.0, dtype=torch.float64)}


def loss(w: Any, lam: Any, rows: Any = slice(None)) -> Tensor:
    return 0.5 * ((X[rows] @ w - Y[rows]) ** 2).mean() + 0.5 * (lam["log"].exp() * w**2).sum()


def solution(lam: Any) -> Tensor:
    return torch.linalg.solve(X.T @ X / 60 + torch.diag(lam["log"].exp()), X.T @ Y / 60)


def minibatch(t: int, w: Any, lam: Any) -> Tensor:
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(t))[:20]
    return loss(w, lam, rows)


PROBLEM = Problem(
    loss,
    lambda w, lam: 0.5 * ((w - 1) ** 2).sum(),  # type: ignore[operator, union-attr]
    lambda lam: torch.zeros(8, dtype=torch.float64),
    solution,
    minibatch=minibatch,
)
AT_SOLUTION = Dynamics(lambda lam: State(solution(lam)), lambda t, s, lam: s)
DESCENT = gradient_descent(full_batch(loss), PROBLEM.init, rate=0.5)


def cg(tolerance: float = 1e-8) -> SolverAt:
    return lambda problem, state, lam: partial(linear_solve.cg, tolerance=tolerance)


def grad_of(found: Any) -> Tensor:
    grad: Tensor = found.grad["log"]
    return grad


@pytest.mark.parametrize("damping", [0.0, 0.01, 1.0])
def test_damping_is_the_formula_with_a_larger_diagonal(damping: float) -> None:
    w = solution(LAM)
    hessian = X.T @ X / 60 + torch.diag(LAM["log"].exp())
    x = torch.linalg.solve(hessian + damping * torch.eye(8, dtype=torch.float64), w - 1)
    expected = -x * LAM["log"].exp() * w
    for solve in (partial(linear_solve.cg, tolerance=1e-13), linear_solve.dense):
        found = implicit(PROBLEM, AT_SOLUTION, LAM, steps=0, solve=solve, damping=damping)
        torch.testing.assert_close(grad_of(found), expected, rtol=1e-9, atol=1e-12)
        assert found.carry == ()


def follow(methods: MethodSeries, count: int, *, steps: int = 200, dynamics: Dynamics = DESCENT) -> list[Any]:
    """The series of a slowly moving lam, the state saved and read again after every hyperiteration."""
    algorithm = nested(
        lambda k: (PROBLEM, dynamics),
        methods,
        optimizers.sgd(rate=optimizers.inverse_time(0.02)),
        lambda lam: lam,
        steps=steps,
    )
    state, series = algorithm.init(LAM), []
    for k in range(count):
        saved = {name: leaf.clone() for name, leaf in trees.named_leaves(state).items()}
        state, values = algorithm.step(k, trees.from_named_leaves(algorithm.init(LAM), saved))
        series.append(values)
    return series


def warm(*, system: bool = False, inner: bool = False, **knobs: Any) -> MethodSeries:
    knobs = {"solver_at": cg(), **knobs}
    return implicit_series(lambda k: partial(implicit_at, **knobs), stationarity, system=system, inner=inner)


def test_a_warm_start_of_the_system_saves_products() -> None:
    loose = cg(1e-3)
    cold, warmed = follow(warm(solver_at=loose), 6), follow(warm(solver_at=loose, system=True), 6)
    for k in range(6):
        assert warmed[k]["solver_residual"] <= 1e-3
        torch.testing.assert_close(warmed[k]["hypergradient_norm"], cold[k]["hypergradient_norm"], rtol=0.02, atol=0)
    assert warmed[0]["solver_iterations"] == cold[0]["solver_iterations"]
    assert all(warmed[k]["solver_iterations"] < cold[k]["solver_iterations"] for k in range(1, 6))


def test_a_warm_start_of_the_inner_variables_goes_on_where_they_were() -> None:
    cold, warmed = (follow(warm(inner=inner), 5, steps=20) for inner in (False, True))
    assert warmed[0]["inner_gradient_norm"] == cold[0]["inner_gradient_norm"]
    assert all(warmed[k]["inner_gradient_norm"] < 0.5 * cold[k]["inner_gradient_norm"] for k in range(2, 5))


@pytest.mark.parametrize("condition", [stationarity, dynamics_fixed_point])
def test_what_is_carried_keeps_its_structure(condition: Any) -> None:
    phi = heavy_ball(full_batch(loss), PROBLEM.init, rate=0.3, momentum=0.5)
    solver: SolverAt = lambda problem, state, lam: partial(linear_solve.fixed_point, iterations=3)  # noqa: E731
    methods = implicit_series(
        lambda k: partial(implicit_at, solver_at=solver, condition=condition), condition, system=True, inner=True
    )
    start = methods.init(PROBLEM, phi, LAM)
    end = methods.at(3, start)(PROBLEM, phi, LAM, steps=4).carry
    assert trees.flatten(start)[1] == trees.flatten(end)[1]
    assert [leaf.shape for leaf in trees.leaves(start)] == [leaf.shape for leaf in trees.leaves(end)]


def test_cold_is_the_plain_method_to_the_bit() -> None:
    plain = implicit(PROBLEM, DESCENT, LAM, steps=30, solve=partial(linear_solve.cg, tolerance=1e-8))
    methods = warm()
    assert methods.init(PROBLEM, DESCENT, LAM) == ()
    for k in (0, 3):
        found = methods.at(k, ())(PROBLEM, DESCENT, LAM, steps=30)
        assert torch.equal(grad_of(found), grad_of(plain))
        assert found.diagnostics == plain.diagnostics
        assert found.carry == ()


def test_schedules_fall_as_they_say() -> None:
    assert [exponential(0.1, 0.5)(k) for k in (0, 1, 3)] == pytest.approx([0.1, 0.05, 0.0125])
    assert [polynomial(0.1, 2)(k) for k in (0, 1, 3)] == pytest.approx([0.1, 0.025, 0.00625])


def test_a_falling_tolerance_is_met_at_every_hyperiteration() -> None:
    tolerances = exponential(0.1, 0.1)
    methods = implicit_series(
        lambda k: partial(implicit_at, solver_at=cg(tolerances(k)), stop=tolerances(k)), stationarity, system=True
    )
    series = follow(methods, 5, steps=10_000)
    for k, values in enumerate(series):
        assert values["solver_residual"] <= tolerances(k)
        assert values["inner_gradient_norm"] <= tolerances(k)
    steps = [float(values["inner_steps"]) for values in series]
    assert steps == sorted(steps)
    assert steps[0] < steps[-1] < 10_000


def test_inner_steps_stop_at_the_first_look_that_is_small_or_at_the_last() -> None:
    start, end, made = run_until(PROBLEM, DESCENT, LAM, 10_000, 1e-3)
    gradient = torch.func.grad(loss)
    assert made % 10 == 0
    assert trees.norm(gradient(end.w, LAM)) <= 1e-3
    before = run_until(PROBLEM, DESCENT, LAM, made - 10, 0.0)
    assert before[2] == made - 10
    assert trees.norm(gradient(before[1].w, LAM)) > 1e-3
    assert torch.equal(start.w, PROBLEM.init(LAM))  # type: ignore[arg-type]


def test_minibatch_hessians_are_unbiased_and_converge() -> None:
    def found(first: int, iterations: int) -> Tensor:
        solver = on_minibatches(first=first, iterations=iterations, rate=0.5)
        return grad_of(implicit_at(PROBLEM, AT_SOLUTION, LAM, steps=0, solver_at=solver))

    everything = Problem(loss, PROBLEM.outer, PROBLEM.init, minibatch=lambda t, w, lam: loss(w, lam))
    solver = on_minibatches(first=0, iterations=10, rate=0.5)
    expectation = grad_of(implicit_at(everything, AT_SOLUTION, LAM, steps=0, solver_at=solver))
    draws = torch.stack([found(10 * seed, 10) for seed in range(49)])
    error, spread = (draws.mean(0) - expectation).abs(), draws.std(0) / 7
    assert spread.min() > 0
    assert (error <= 4 * spread).all()
    assert torch.equal(found(7, 10), found(7, 10))
    assert not torch.equal(found(7, 10), found(8, 10))

    expected = grad_of(exact(PROBLEM, DESCENT, LAM, steps=1))
    errors = [float((found(0, count) - expected).norm() / expected.norm()) for count in (20, 800)]
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.1


def test_a_problem_without_minibatches_is_refused() -> None:
    problem = Problem(loss, PROBLEM.outer, PROBLEM.init)
    solver = on_minibatches(first=0, iterations=2, rate=0.5)
    with pytest.raises(ValueError, match="has no minibatches"):
        implicit_at(problem, AT_SOLUTION, LAM, steps=0, solver_at=solver)
