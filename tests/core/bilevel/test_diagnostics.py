"""Measurements agree with what they stand for, computed another way, and leave the hypergradient alone."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.bilevel import diagnostics, dynamics, trees
from core.bilevel.diagnostics import Measurement, cosine, measured, relative_difference
from core.bilevel.embedding import through_embedding
from core.bilevel.hypergradients import exact, forward, reverse
from core.bilevel.hypergradients.inner import run
from core.bilevel.problem import Dynamics, Hypergradient, Method, Problem, Tree, steady

STEPS = 8


def stated(kind: str = "gradient_descent", *, rate: float = 0.4, embedded: bool = False) -> tuple[Problem, Dynamics]:
    """1/2 w'Aw - w'z with the eigenvalues 0.2, 0.6, 1 of A, z = tanh lam or lam; E is a quartic."""
    generator = torch.Generator().manual_seed(2)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    A = q @ torch.diag(torch.tensor([0.2, 0.6, 1.0], dtype=torch.float64)) @ q.T

    def inner(w: Any, z: Any) -> Tensor:
        return 0.5 * w @ A @ w - w @ z

    problem = Problem(
        inner,
        lambda w, z: ((w - 1) ** 4).sum() + 0.1 * (z**2).sum(),
        lambda z: 0.5 * z,
        lambda z: torch.linalg.solve(A, z),
        embed=torch.tanh if embedded else None,  # type: ignore[arg-type]
    )
    momentum = {} if kind in ("gradient_descent", "adam") else {"momentum": 0.5}
    return problem, getattr(dynamics, kind)(dynamics.full_batch(inner), problem.init, rate=rate, **momentum)


LAM = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)


def measure(
    measurement: Measurement, problem: Problem, phi: Dynamics, *, method: Method = reverse, steps: int = STEPS
) -> dict[str, float]:
    """What the measurement adds."""
    method = through_embedding(method)
    plain = method(problem, phi, LAM, steps=steps)
    found = measured(steady(method), [(1, measurement)]).at(0, ())(problem, phi, LAM, steps=steps)
    assert torch.equal(found.grad, plain.grad)  # type: ignore[arg-type]
    return {name: float(value) for name, value in found.diagnostics.items() if name not in plain.diagnostics}


@pytest.mark.parametrize("embedded", [False, True])
@pytest.mark.parametrize("kind", ["gradient_descent", "heavy_ball", "nesterov", "adam"])
def test_contraction_is_the_spectral_radius_of_the_last_step(kind: str, embedded: bool) -> None:
    problem, phi = stated(kind, embedded=embedded)
    z = LAM.tanh() if embedded else LAM
    flat, unravel = trees.ravel(run(phi, z, STEPS)[1])
    jacobian = torch.func.jacrev(lambda x: trees.ravel(phi.step(STEPS, unravel(x), z))[0])(flat)
    radius = float(torch.linalg.eigvals(jacobian).abs().max())
    found = measure(diagnostics.contraction(seed=0, products=20), problem, phi)
    assert found["contraction_factor"] == pytest.approx(radius, rel=1e-6)
    assert found.keys() == {"contraction_factor", "contraction_error"}
    assert found["contraction_error"] < 1e-6


@settings(max_examples=8, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 12), symmetric=st.booleans())
def test_the_radius_is_that_of_the_matrix_once_the_space_is_whole(seed: int, size: int, symmetric: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, start = (torch.randn(size, n, generator=generator, dtype=torch.float64) for n in (size, 1))
    a = a + a.T if symmetric else a
    found, _ = diagnostics._radius(lambda v: a @ v, start[:, 0], 50)
    assert torch.isclose(found, torch.linalg.eigvals(a).abs().max(), rtol=1e-6)
    if symmetric:  # fewer products: from below
        fewer, error = diagnostics._radius(lambda v: a @ v, start[:, 0], max(size // 2, 1))
        assert fewer <= found * (1 + 1e-9)
        distances = (torch.linalg.eigvalsh(a).abs() - fewer).abs()
        assert distances.min() <= error + 1e-9  # an eigenvalue is as near


def test_the_radius_of_nilpotent_zero_and_infinite_operators() -> None:
    start = torch.ones(3, dtype=torch.float64)
    assert diagnostics._radius(torch.zeros_like, start, 5) == (0, 0)
    shift = torch.diag(torch.ones(2, dtype=torch.float64), 1)
    assert diagnostics._radius(lambda v: shift @ v, start, 5)[0] < 1e-4
    assert all(value.isnan() for value in diagnostics._radius(lambda v: v * torch.inf, start, 5))


def test_heavy_ball_may_look_as_if_it_did_not_contract_but_for_the_error() -> None:
    curvature, momentum = torch.logspace(-3, 0, 20, dtype=torch.float64).diag(), 0.9
    above = torch.cat([torch.eye(20) - curvature, -momentum * torch.eye(20)], 1)
    step = torch.cat([above, torch.cat([curvature, momentum * torch.eye(20)], 1)])  # of (w, v), at rate 1
    radius, looked = torch.linalg.eigvals(step).abs().max(), []
    for seed in range(10):
        start = torch.randn(40, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        factor, error = diagnostics._radius(lambda v: step.T @ v, start, 25)
        assert abs(factor - radius) < error
        looked.append(float(factor))
        whole, rest = diagnostics._radius(lambda v: step.T @ v, start, 40)
        assert whole == pytest.approx(float(radius), rel=1e-6)
        assert rest < 1e-6
    assert max(looked) > 1 > radius


def test_dynamics_that_do_not_contract_are_seen() -> None:
    found = measure(diagnostics.contraction(seed=0, products=20), *stated(rate=2.1))
    assert found["contraction_factor"] == pytest.approx(1.1)


def test_exact_states_get_the_rest_of_the_state_from_the_dynamics() -> None:
    """`exact` hands over w alone; the velocity is found by running the dynamics."""
    problem, phi = stated("heavy_ball")
    by_exact = measure(diagnostics.contraction(seed=0, products=20), problem, phi, method=exact)
    assert by_exact == pytest.approx(measure(diagnostics.contraction(seed=0, products=20), problem, phi))


@pytest.mark.parametrize("embedded", [False, True])
def test_truncation_is_the_relative_difference_of_the_hypergradients(embedded: bool) -> None:
    problem, phi = stated(embedded=embedded)
    half, whole, double = (
        through_embedding(reverse)(problem, phi, LAM, steps=steps).grad for steps in (4, STEPS, 2 * STEPS)
    )
    found = [measure(diagnostics.truncation(double=flag), problem, phi)["truncation_error"] for flag in (True, False)]
    assert found[0] == pytest.approx(float((whole - double).norm() / double.norm()))  # type: ignore[operator,union-attr]
    assert found[1] == pytest.approx(float((half - whole).norm() / whole.norm()))  # type: ignore[operator,union-attr]


def test_the_truncation_error_estimates_the_distance_from_the_limit() -> None:
    problem, phi = stated()
    for steps in (20, 40, 80):
        limit = exact(problem, phi, LAM, steps=1).grad
        error = float(relative_difference(reverse(problem, phi, LAM, steps=steps).grad, limit))
        found = measure(diagnostics.truncation(double=True), problem, phi, steps=steps)["truncation_error"]
        assert 0.5 * error < found < 2 * error


def test_another_method_that_is_right_agrees_and_one_that_is_not_does_not() -> None:
    problem, phi = stated()
    right = measure(diagnostics.comparison(steady(forward)), problem, phi)
    assert right == pytest.approx({"comparison_cosine": 1.0, "comparison_error": 0.0}, abs=1e-12)
    cut = reverse(problem, phi, LAM, steps=STEPS).grad, exact(problem, phi, LAM, steps=STEPS).grad
    found = measure(diagnostics.comparison(steady(exact)), problem, phi)
    assert found["comparison_error"] == pytest.approx(float(relative_difference(*cut)))
    assert found["comparison_cosine"] == pytest.approx(float(cosine(*cut)))
    assert found["comparison_error"] > 0.01


@pytest.mark.parametrize("embedded", [False, True])
def test_central_differences_agree_with_what_is_right_only(embedded: bool) -> None:
    problem, phi = stated(embedded=embedded)
    differences = diagnostics.central_differences(seed=1, directions=4)
    found = measure(differences, problem, phi)
    assert found["comparison_error"] < 1e-7
    assert found["comparison_cosine"] == pytest.approx(1.0)

    def wrong(problem: Problem, dynamics: Dynamics, lam: Tree, *, steps: int) -> Hypergradient:
        right = reverse(problem, dynamics, lam, steps=steps)
        return right._replace(grad=trees.scale(0.8, right.grad))

    assert measure(differences, problem, phi, method=wrong)["comparison_error"] == pytest.approx(0.2, abs=1e-6)
    solved = diagnostics.central_differences(seed=1, directions=4, solved=True)
    assert measure(solved, problem, phi, method=exact)["comparison_error"] < 1e-7


def test_stationarity_is_relative_to_the_start() -> None:
    problem, phi = stated()
    gradient = torch.func.grad(problem.inner)
    norms = [gradient(run(phi, LAM, steps)[1].w, LAM).norm() for steps in (STEPS, 0)]
    found = measure(diagnostics.stationarity, problem, phi)
    assert found == {"inner_gradient_relative": pytest.approx(float(norms[0] / norms[1]))}


def test_the_direction_changes_from_one_hyperiteration_to_the_next() -> None:
    problem, phi = stated()
    methods = diagnostics.direction_change(steady(reverse), every=2)
    carry = methods.init(problem, phi, LAM)
    lams = [LAM, -LAM, LAM + 1, LAM - 2, LAM * 3]
    grads = [reverse(problem, phi, lam, steps=STEPS).grad for lam in lams]
    for k, lam in enumerate(lams):
        found = methods.at(k, carry)(problem, phi, lam, steps=STEPS)
        carry = found.carry
        assert torch.equal(found.grad, grads[k])  # type: ignore[arg-type]
        assert ("direction_cosine" in found.diagnostics) == (k in (2, 4))
        if k in (2, 4):
            assert found.diagnostics["direction_cosine"] == cosine(grads[k], grads[k - 1])


def test_each_measurement_has_its_period() -> None:
    problem, phi = stated()
    methods = measured(
        steady(reverse), [(2, diagnostics.stationarity), (3, diagnostics.contraction(seed=0, products=3))]
    )
    for k in range(7):
        found = methods.at(k, ())(problem, phi, LAM, steps=2).diagnostics
        assert ("inner_gradient_relative" in found) == (k % 2 == 0)
        assert ("contraction_factor" in found) == (k % 3 == 0)


def test_nothing_over_nothing() -> None:
    zero, one = torch.zeros(2), torch.ones(2)
    assert cosine(zero, one) == cosine(one, zero) == cosine(zero, zero) == 0
    assert relative_difference(zero, zero) == 0
    assert relative_difference(one, zero) == torch.inf
    assert cosine(one, -one) == pytest.approx(-1)
