"""Algorithms on finite sums: where they converge to, which of them stall, and that they resume to the bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.algorithms.first_order import barrier
from core.bilevel.problem import AlgorithmState
from core.build import Built, build
from core.checkpointing import MemoryCheckpoints
from core.problems.inner import entry
from core.problems.random_quadratics import Mean, draw
from core.recording import MemoryRecorder
from core.run import Finished, Stopped, run
from core.spec import KINDS, Experiment, kind_of
from core.spec.problems import RandomQuadratics
from core.spec.stochastic import Stochastic

TINY = RandomQuadratics(
    inner_dimension=5, outer_dimension=3, inner_examples=40, outer_examples=32, convexity=0.5, initial=1.0
)
ALL_KINDS = [kind_of(member) for member in KINDS["algorithm"] if issubclass(member, Stochastic)]
EXACT: dict[str, Any] = {"batch": None, "inner_exponent": 0, "outer_exponent": 0}


def described(problem: dict[str, Any] | None = None, **algorithm: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "problem": problem or TINY.model_dump(),
            "algorithm": {"hyperiterations": 5, **algorithm},
            "evaluation": {"every": 2},
            "resources": {"precision": "float64"},
        }
    )


def made(**algorithm: Any) -> Built:
    return build(described(**algorithm), device="cpu", data_dir=Path())


def reached(steps: int, **algorithm: Any) -> tuple[Built, AlgorithmState]:
    built = made(**algorithm)
    state = built.algorithm.init(built.instance.initial)
    for k in range(steps):
        state, _ = built.algorithm.step(k, state)
    return built, state


def squared_gradient(steps: int, **algorithm: Any) -> float:
    """||grad h||^2 after so many hyperiterations; 0.62 at the start."""
    built, state = reached(steps, **algorithm)
    assert built.algorithm.inner is not None
    return built.instance.evaluate(state.lam, built.algorithm.inner(state)).test["squared_gradient"].mean


@pytest.mark.parametrize(
    ("kind", "knobs", "steps"),
    [
        ("soba", {"inner_rate": 0.5, "outer_rate": 0.5}, 150),
        ("ma_soba", {"inner_rate": 0.5, "outer_rate": 0.5, "averaging": 0.5}, 150),
        ("saba", {"inner_rate": 0.5, "outer_rate": 0.5}, 150),
        ("srba", {"inner_rate": 0.5, "outer_rate": 0.5, "period": 10}, 150),
        ("stocbio", {"inner_rate": 0.8, "outer_rate": 1.0, "linear_steps": 30}, 60),
        ("amigo", {"inner_rate": 0.8, "outer_rate": 1.0}, 60),
        ("f2sa", {"inner_rate": 0.8, "outer_rate": 1.0, "multiplier": 1e4, "multiplier_exponent": 0}, 60),
    ],
)
def test_with_all_examples_they_find_the_minimizer(kind: str, knobs: dict[str, Any], steps: int) -> None:
    assert squared_gradient(steps, kind=kind, **EXACT, **knobs) < 1e-5


def means() -> tuple[Mean, Mean]:
    (inner, outer), _ = draw(TINY, 0)
    return inner.mean(), outer.mean()


def penalized_minimizer(mu: float) -> Tensor:
    """lam of the stationary point of E(y) + mu (L(y) - L(z)) in y and lam, with z = argmin L."""
    inner, outer = means()
    d, m = inner.a.numel(), inner.b.numel()
    zeros = torch.zeros(d, d, dtype=torch.float64)
    system = torch.cat(
        [
            torch.cat([outer.H + mu * inner.H, zeros, (outer.C + mu * inner.C).T], 1),
            torch.cat([zeros, inner.H, inner.C.T], 1),
            torch.cat([outer.C + mu * inner.C, -mu * inner.C, outer.G], 1),
        ]
    )
    target = -torch.cat([outer.a + mu * inner.a, inner.a, outer.b])
    found: Tensor = torch.linalg.solve(system, target)[2 * d :].reshape(m)
    return found


@pytest.mark.parametrize(("kind", "outer_rate", "steps"), [("f2sa", 1.0, 150), ("pbgd", 0.5, 600)])
def test_penalties_converge_to_their_own_minimizer(kind: str, outer_rate: float, steps: int) -> None:
    constant = {"multiplier_exponent": 0} if kind == "f2sa" else {"inner_steps": 2}
    knobs = {"inner_rate": 0.8, "outer_rate": outer_rate, "multiplier": 3.0, **constant, **EXACT}
    _, state = reached(steps, kind=kind, **knobs)
    torch.testing.assert_close(entry(state.lam, "lam"), penalized_minimizer(3.0), rtol=1e-4, atol=1e-4)


def test_the_bias_of_a_penalty_falls_like_its_inverse() -> None:
    _, h = draw(TINY, 0)
    norms = [float(h.gradient(penalized_minimizer(mu)).norm()) for mu in (1e2, 1e3, 1e4)]
    assert norms[0] / norms[1] == pytest.approx(10, rel=0.1)
    assert norms[1] / norms[2] == pytest.approx(10, rel=0.1)


def test_a_short_series_biases_stocbio_and_not_amigo() -> None:
    """stocBiO stops where its own direction vanishes: v = -rate sum_q (I - rate H)^q grad_w E at w*."""
    knobs = {"inner_rate": 0.5, "outer_rate": 0.7, "linear_steps": 2, **EXACT}
    assert squared_gradient(100, kind="amigo", **knobs) < 1e-5
    built, state = reached(100, kind="stocbio", **knobs)
    inner, outer = means()
    lam, rate = entry(state.lam, "lam"), 0.5
    w = -torch.linalg.solve(inner.H, inner.C.T @ lam + inner.a)
    shrink = torch.eye(5, dtype=torch.float64) - rate * inner.H
    series = rate * (torch.eye(5, dtype=torch.float64) + shrink + shrink @ shrink)
    gradient = outer.H @ w + outer.C.T @ lam + outer.a
    biased = outer.G @ lam + outer.C @ w + outer.b - inner.C @ series @ gradient
    assert float(biased.norm()) < 1e-3
    assert built.instance.evaluate(state.lam).test["squared_gradient"].mean > 1e-3


def test_variance_reduction_converges_where_soba_stalls() -> None:
    """At constant rates SOBA stays at a floor of noise; SABA and SRBA converge linearly (Dagréou et al. 2022, 2023)."""
    knobs = {"inner_rate": 0.2, "outer_rate": 0.15, "batch": 8, "inner_exponent": 0, "outer_exponent": 0}
    assert squared_gradient(300, kind="soba", **knobs) > 1e-4
    for kind in ("saba", "srba"):
        half, whole = (squared_gradient(steps, kind=kind, **knobs) for steps in (150, 300))
        assert whole < 1e-6
        assert whole < half / 50


def test_decaying_rates_lower_the_floor_of_soba() -> None:
    def mean(**exponents: float) -> float:
        knobs = {"inner_rate": 0.4, "outer_rate": 0.4, "batch": 2, **exponents}
        built = made(kind="soba", **knobs)
        state, total = built.algorithm.init(built.instance.initial), 0.0
        for k in range(200):
            state, _ = built.algorithm.step(k, state)
            if k >= 160:
                own = built.algorithm.inner(state)  # type: ignore[misc]
                total += built.instance.evaluate(state.lam, own).test["squared_gradient"].mean / 40
        return total

    assert mean(inner_exponent=0.5, outer_exponent=0.5) < mean(inner_exponent=0.0, outer_exponent=0.0) / 2


def test_bome_approaches_the_minimizer_as_its_rates_decay() -> None:
    """At constant rates the weight of the penalty stays of order 1 / rate, and so does the bias."""
    knobs = {"inner_rate": 0.6, "outer_rate": 0.6, "batch": None, "inner_exponent": 0.3, "outer_exponent": 0.3}
    assert squared_gradient(120, kind="bome", **knobs) < 0.04


def test_ttsa_approaches_the_minimizer() -> None:
    knobs = {"inner_rate": 0.5, "outer_rate": 0.5, "linear_rate": 0.5, "linear_steps": 8}
    assert squared_gradient(250, kind="ttsa", batch=8, inner_exponent=0.2, outer_exponent=0.5, **knobs) < 0.06


def test_ma_soba_with_the_newest_direction_alone_is_soba() -> None:
    (_, one), (_, other) = (
        reached(7, kind=kind, batch=4, **knobs) for kind, knobs in (("ma_soba", {"averaging": 1.0}), ("soba", {}))
    )
    torch.testing.assert_close(one.lam, other.lam, rtol=0, atol=0)


def test_the_gap_weight_makes_the_gap_fall() -> None:
    """Along BOME's direction, <grad q, d> >= phi."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        outer, gap = (tuple(torch.randn(2, 3, dtype=torch.float64, generator=generator).unbind()) for _ in range(2))
        q = torch.rand((), dtype=torch.float64, generator=generator)
        for by_gap, phi in ((False, 0.5 * trees.dot(gap, gap)), (True, 0.5 * q)):
            mu = barrier(eta=0.5, by_gap=by_gap)(outer, gap, q)  # type: ignore[arg-type]
            assert mu >= 0
            assert trees.dot(gap, trees.axpy(mu, gap, outer)) >= phi - 1e-12
    flat = (torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    assert barrier(eta=0.5, by_gap=False)(flat, flat, torch.zeros((), dtype=torch.float64)) == 0


PROBLEMS: dict[str, dict[str, Any]] = {
    "random_quadratics": TINY.model_dump(),
    "regularization": {
        "kind": "regularization",
        "dataset": {"kind": "breast_cancer"},
        "loss": "logistic",
        "strength": "feature",
        "train": 30,
        "validation": 20,
    },
    "hyper_cleaning": {"kind": "hyper_cleaning", "train": 30, "validation": 20, "final_steps": 5},
}


@pytest.mark.parametrize("kind", ALL_KINDS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_step_is_a_pure_function_of_k_and_the_state(problem: str, kind: str) -> None:
    built = build(described(PROBLEMS[problem], kind=kind, batch=8), device="cpu", data_dir=Path())
    state, _ = built.algorithm.step(0, built.algorithm.init(built.instance.initial))
    kept = trees.map_leaves(torch.clone, state)
    (one, series), (other, _) = built.algorithm.step(5, state), built.algorithm.step(5, state)
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    torch.testing.assert_close(state, kept, rtol=0, atol=0)
    assert series.keys() >= {"outer_objective", "hypergradient_norm", "inner_gradient_norm"}
    assert trees.norm(one).isfinite()
    assert {leaf.dtype for leaf in trees.leaves(one)} == {torch.float64}


class Ran:
    """A run and what it leaves behind."""

    def __init__(self, spec: Experiment, saved: MemoryCheckpoints | None = None, stop_at: int | None = None) -> None:
        self.recorder, self.checkpoints = MemoryRecorder(), saved or MemoryCheckpoints()
        asked = iter(range(10**6))
        self.outcome = run(
            spec,
            device="cpu",
            data_dir=Path(),
            recorder=self.recorder,
            checkpoints=self.checkpoints,
            stop=lambda: next(asked) == stop_at,
        )

    def curves(self) -> dict[str, dict[int, float]]:
        return {name: curve for name, curve in self.recorder.curves.items() if name != "seconds"}


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_run_resumes_to_the_bit(kind: str) -> None:
    spec = described(kind=kind, batch=8)
    whole, first = Ran(spec), Ran(spec, stop_at=3)
    rest = Ran(spec, first.checkpoints)
    assert isinstance(whole.outcome, Finished)
    assert isinstance(first.outcome, Stopped)
    assert isinstance(rest.outcome, Finished)
    joined = {name: first.curves().get(name, {}) | curve for name, curve in rest.curves().items()}
    assert joined == whole.curves()
    assert rest.outcome.artifacts == whole.outcome.artifacts
    assert rest.outcome.result["final"] == whole.outcome.result["final"]


def test_the_loop_scores_the_inner_variables_that_the_algorithm_keeps() -> None:
    spec = described(kind="saba", batch=8)
    ran = Ran(spec)
    built, state = reached(5, kind="saba", batch=8)
    assert built.algorithm.inner is not None
    own = built.instance.evaluate(state.lam, built.algorithm.inner(state))
    assert ran.recorder.curves["validation/loss"][5] == own.validation["loss"].mean
    assert own.validation["loss"].mean != built.instance.evaluate(state.lam).validation["loss"].mean
