"""One matrix: drawn problems x dynamics x methods, in float64; every method against the plainest one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from core.bilevel import dynamics, trees
from core.bilevel.hypergradients import exact, forward, reverse, unrolled
from core.bilevel.problem import Dynamics, Method, Problem, Tree
from tests.core.bilevel.methods import IMPLICIT, ITERATIVE

matrix = settings(max_examples=8, deadline=None, derandomize=True)

DYNAMICS = ("gradient_descent", "heavy_ball", "nesterov", "adam", "adamw", "rmsprop")


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def assert_close(found: Tree, expected: Tree, relative: float = 1e-9) -> None:
    error = trees.norm(trees.subtract(found, expected))
    assert error <= relative * trees.norm(expected) + 1e-14, f"{error} against {trees.norm(expected)}"


# --- problems: w_0 and the direct term depend on lam in all of them -----------------------------------


@dataclass(frozen=True)
class Drawn:
    problem: Problem
    objective: dynamics.StepObjective
    lam: Any


def quadratic(generator: torch.Generator) -> Drawn:
    """1/2 w'Aw - w'(B lam + b), A with eigenvalues in [0.3, 1]."""
    d, m = 4, 3
    q, _ = torch.linalg.qr(normal(generator, d, d))
    A = q @ torch.diag(torch.linspace(0.3, 1.0, d, dtype=torch.float64)) @ q.T
    B, b, c = normal(generator, d, m), normal(generator, d), normal(generator, d)
    noise = normal(generator, 3, d)

    def inner(w: Any, lam: Any) -> Tensor:
        return 0.5 * w @ A @ w - w @ (B @ lam["own"] + b)

    def outer(w: Any, lam: Any) -> Tensor:
        return 0.5 * ((w - c) ** 2).sum() + 0.05 * (lam["own"] ** 2).sum()

    problem = Problem(inner, outer, lambda lam: lam["start"], lambda lam: torch.linalg.solve(A, B @ lam["own"] + b))
    lam = {"own": normal(generator, m), "start": normal(generator, d)}
    return Drawn(problem, lambda t, w, lam: inner(w, lam) + w @ noise[t % 3], lam)


def softmax(generator: torch.Generator) -> Drawn:
    """Softmax regression with weights of examples and strengths of features as outer variables."""
    n, d, c = 12, 3, 3
    x, xv = normal(generator, n, d), normal(generator, 6, d)
    y, yv = torch.arange(n) % c, torch.arange(6) % c

    def loss(w: Any, lam: Any, rows: slice) -> Tensor:
        each = functional.cross_entropy(x[rows] @ w["weight"] + w["bias"], y[rows], reduction="none")
        penalty = 0.5 * (lam["own"]["strength"].exp() * w["weight"] ** 2).sum() + 0.05 * (w["bias"] ** 2).sum()
        return (each * lam["own"]["example"][rows].sigmoid()).mean() + penalty

    def outer(w: Any, lam: Any) -> Tensor:
        return functional.cross_entropy(xv @ w["weight"] + w["bias"], yv) + 0.1 * lam["own"]["example"].sum()

    def init(lam: Any) -> Tree:
        return {"weight": torch.outer(lam["start"], lam["start"].new_ones(c)), "bias": lam["start"].sum().expand(c)}

    own = {"example": normal(generator, n), "strength": 0.1 * normal(generator, d, 1) - 1.0}
    problem = Problem(lambda w, lam: loss(w, lam, slice(None)), outer, init)
    objective = lambda t, w, lam: loss(w, lam, slice(4 * (t % 3), 4 * (t % 3) + 4))  # noqa: E731
    return Drawn(problem, objective, {"own": own, "start": 0.3 * normal(generator, d)})


def network(generator: torch.Generator) -> Drawn:
    """A small tanh network: not convex; the outer variables are its start and a transformation of the inputs."""
    x, y, xv, yv = (normal(generator, n, m) for n, m in ((9, 2), (9, 1), (5, 2), (5, 1)))

    def loss(w: Any, lam: Any, inputs: Tensor, targets: Tensor) -> Tensor:
        hidden = (inputs @ lam["own"] @ w[0] + w[1]).tanh()
        return 0.5 * ((hidden @ w[2] - targets) ** 2).mean()

    problem = Problem(
        lambda w, lam: loss(w, lam, x, y),
        lambda w, lam: loss(w, lam, xv, yv),
        lambda lam: [lam["start"], lam["start"].mean(0), lam["start"].sum(0)[:, None]],
    )
    lam = {"own": normal(generator, 2, 2), "start": 0.5 * normal(generator, 2, 3)}
    return Drawn(problem, lambda t, w, lam: loss(w, lam, x[t % 3 :: 3], y[t % 3 :: 3]), lam)


PROBLEMS = {"quadratic": quadratic, "softmax": softmax, "network": network}


def make_dynamics(kind: str, drawn: Drawn, *, learned: bool, batch: bool, rate: float = 0.1) -> tuple[Dynamics, Any]:
    """The dynamics, and lam with what they read from it."""
    objective = drawn.objective if batch else dynamics.full_batch(drawn.problem.inner)
    lam = dict(drawn.lam)
    eta: dynamics.Scalar = rate
    mu: dynamics.Scalar = 0.6
    if learned:
        lam["dynamics"] = (torch.tensor(rate, dtype=torch.float64).log(), torch.tensor(0.4, dtype=torch.float64))
        eta = lambda t, lam: lam["dynamics"][0].exp() / (1 + 0.1 * t)  # noqa: E731
        mu = lambda t, lam: lam["dynamics"][1].sigmoid()  # noqa: E731
    make = getattr(dynamics, kind)
    if kind == "gradient_descent":
        return make(objective, drawn.problem.init, rate=eta), lam
    if kind == "adam":
        return make(objective, drawn.problem.init, rate=eta, beta1=mu, epsilon=1e-2), lam
    if kind == "adamw":
        return make(objective, drawn.problem.init, rate=eta, beta1=mu, decay=mu, epsilon=1e-2), lam
    if kind == "rmsprop":
        return make(objective, drawn.problem.init, rate=eta, beta=mu, epsilon=1e-2), lam
    return make(objective, drawn.problem.init, rate=eta, momentum=mu), lam


cases = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32),
        "problem": st.sampled_from(sorted(PROBLEMS)),
        "learned": st.booleans(),
        "batch": st.booleans(),
        "steps": st.integers(0, 9),
    }
)


def build(case: dict[str, Any], kind: str) -> tuple[Problem, Dynamics, Any]:
    drawn = PROBLEMS[case["problem"]](torch.Generator().manual_seed(case["seed"]))
    phi, lam = make_dynamics(kind, drawn, learned=case["learned"], batch=case["batch"])
    return drawn.problem, phi, lam


@pytest.mark.parametrize("kind", DYNAMICS)
@pytest.mark.parametrize("name", [name for name in ITERATIVE if name != "unrolled"])
@matrix
@given(case=cases)
def test_methods_agree(name: str, kind: str, case: dict[str, Any]) -> None:
    problem, phi, lam = build(case, kind)
    steps = case["steps"]
    expected = unrolled(problem, phi, lam, steps=steps)
    found = ITERATIVE[name](max(steps, 1))(problem, phi, lam, steps=steps)
    assert_close(found.grad, expected.grad)
    assert_close(found.state, expected.state)
    assert_close(found.outer_loss, expected.outer_loss)
    assert_close(dict(found.diagnostics), dict(expected.diagnostics))
    assert not any(leaf.requires_grad for leaf in trees.leaves((found.grad, found.outer_loss, found.state)))


@pytest.mark.parametrize("kind", DYNAMICS)
@matrix
@given(case=cases)
def test_central_finite_differences(kind: str, case: dict[str, Any]) -> None:
    problem, phi, lam = build(case, kind)
    generator = torch.Generator().manual_seed(case["seed"])
    direction = trees.map_leaves(lambda leaf: torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype), lam)

    def value(step: float) -> Tensor:
        moved = trees.axpy(step, direction, lam)
        state = phi.init(moved)
        for t in range(1, case["steps"] + 1):
            state = phi.step(t, state, moved)
        return problem.outer(state.w, moved)

    slope = trees.dot(reverse(problem, phi, lam, steps=case["steps"]).grad, direction)
    h = 1e-4  # fourth-order differences, so that neither truncation nor round-off passes 1e-9
    differences = (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h)
    assert torch.isclose(slope, differences, rtol=1e-6, atol=1e-7)


# --- against the closed form --------------------------------------------------------------------------


def ridge(generator: torch.Generator) -> Drawn:
    """Ridge regression, one strength a feature; w* = (X'X/n + diag exp lam)^-1 X'y/n."""
    n, d = 10, 3
    x, y, xv, yv = normal(generator, n, d), normal(generator, n), normal(generator, 7, d), normal(generator, 7)

    def inner(w: Any, lam: Any) -> Tensor:
        return 0.5 * ((x @ w - y) ** 2).mean() + 0.5 * (lam["own"].exp() * w**2).sum()

    def solution(lam: Any) -> Tensor:
        return torch.linalg.solve(x.T @ x / n + torch.diag(lam["own"].exp()), x.T @ y / n)

    problem = Problem(inner, lambda w, lam: 0.5 * ((xv @ w - yv) ** 2).mean(), lambda lam: lam["start"], solution)
    lam = {"own": 0.3 * normal(generator, d) - 0.5, "start": normal(generator, d)}
    return Drawn(problem, dynamics.full_batch(inner), lam)


@pytest.mark.parametrize("kind", ["gradient_descent", "heavy_ball", "nesterov"])
@pytest.mark.parametrize("name", IMPLICIT)
@pytest.mark.parametrize("make", [quadratic, ridge])
def test_implicit_is_exact_at_the_solution(make: Callable[[torch.Generator], Drawn], name: str, kind: str) -> None:
    drawn = make(torch.Generator().manual_seed(3))
    phi, lam = make_dynamics(kind, drawn, learned=False, batch=False, rate=0.3)
    expected = exact(drawn.problem, phi, lam, steps=1)
    found = IMPLICIT[name](drawn.problem, phi, lam, steps=400)
    assert_close(found.grad, expected.grad)
    assert_close(found.state.w, expected.state.w)
    assert found.diagnostics["solver_residual"] < 1e-9
    assert found.diagnostics["solver_iterations"] > 0
    assert expected.diagnostics["inner_gradient_norm"] < 1e-12


@pytest.mark.parametrize("method", [reverse, forward, partial(reverse, segment=17)])
@pytest.mark.parametrize("make", [quadratic, ridge])
def test_more_steps_tend_to_exact(make: Callable[[torch.Generator], Drawn], method: Method) -> None:
    drawn = make(torch.Generator().manual_seed(5))
    phi, lam = make_dynamics("gradient_descent", drawn, learned=False, batch=False, rate=0.3)
    expected = exact(drawn.problem, phi, lam, steps=1).grad
    errors = [
        float(trees.norm(trees.subtract(method(drawn.problem, phi, lam, steps=steps).grad, expected)))
        for steps in (4, 16, 64, 256)
    ]
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert errors[3] < 1e-9


def test_truncation_cuts_what_it_says_and_its_error_fades() -> None:
    """Truncating at K near a minimizer is off by a factor that falls like (1 - eta mu)^K, and is never the whole."""
    drawn = quadratic(torch.Generator().manual_seed(1))
    phi, lam = make_dynamics("gradient_descent", drawn, learned=False, batch=False, rate=0.3)
    whole = reverse(drawn.problem, phi, lam, steps=100).grad
    cut = {K: reverse(drawn.problem, phi, lam, steps=100, truncate=K).grad for K in (1, 10, 50)}
    errors = [float(trees.norm(trees.subtract(grad, whole))) for grad in cut.values()]
    assert errors[0] > errors[1] > errors[2] > 0
    assert errors[2] < 0.01 * errors[0]
    assert not cut[50]["start"].any()  # the way back did not reach w_0
    for segment in (1, 4, 7):
        again = reverse(drawn.problem, phi, lam, steps=100, truncate=10, segment=segment).grad
        assert_close(again, cut[10], 1e-13)
