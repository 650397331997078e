"""Orderings that papers on stochastic bilevel optimization publish, on small versions of benchopt's three problems.

Random quadratics, logistic regression with a strength a feature, data hyper-cleaning: `benchmarks/stochastic.py` draws
the curves of the full ones.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.bilevel import trees
from core.bilevel.problem import AlgorithmState, Tree
from core.build import Built, build
from core.spec import Experiment

PROBLEMS: dict[str, dict[str, Any]] = {
    "quadratics": {
        "kind": "random_quadratics",
        "inner_dimension": 10,
        "outer_dimension": 4,
        "inner_examples": 256,
        "outer_examples": 128,
        "convexity": 0.3,
    },
    "logistic": {
        "kind": "regularization",
        "dataset": {"kind": "breast_cancer"},
        "loss": "logistic",
        "strength": "feature",
        "model": {"kind": "linear", "bias": False},
        "initial_strength": 0.3,
        "train": 200,
        "validation": 100,
    },
    "cleaning": {
        "kind": "hyper_cleaning",
        "dataset": {"kind": "digits"},
        "model": {"kind": "linear", "bias": False},
        "flip": "any",
        "train": 400,
        "validation": 200,
        "l2": 0.4,
    },
}


def walk(problem: str, steps: int, **algorithm: Any) -> tuple[Built, list[AlgorithmState], list[float]]:
    """All states of so many hyperiterations at constant rates, and the series "hypergradient_norm"."""
    constant = {} if algorithm["kind"] in ("saba", "srba") else {"inner_exponent": 0, "outer_exponent": 0}
    spec = {
        "problem": PROBLEMS[problem],
        "algorithm": {"batch": 16, **constant, **algorithm},
        "resources": {"precision": "float64"},
    }
    built = build(Experiment.model_validate(spec), device="cpu", data_dir=Path())
    states, norms = [built.algorithm.init(built.instance.initial)], []
    for k in range(steps):
        state, series = built.algorithm.step(k, states[-1])
        states.append(state)
        norms.append(float(series["hypergradient_norm"]))
    return built, states, norms


def own(built: Built, state: AlgorithmState) -> Tree:
    assert built.algorithm.inner is not None
    return built.algorithm.inner(state)


def inner_gradient(built: Built, state: AlgorithmState) -> float:
    """||grad_w L|| of all examples, at the inner variables that the algorithm keeps."""
    problem, _ = built.instance.at(0)
    return float(trees.norm(torch.func.grad(problem.inner)(own(built, state), state.lam)))


def score(built: Built, state: AlgorithmState, problem: str) -> float:
    """What the figures draw: ||grad h||^2 of quadratics, h of logistic regression, validation loss of cleaning."""
    if problem == "logistic":
        return value_function(built, state)
    scores = built.instance.evaluate(state.lam, own(built, state))
    return scores.test["squared_gradient"].mean if problem == "quadratics" else scores.validation["loss"].mean


def value_function(built: Built, state: AlgorithmState) -> float:
    """h(lam), at the minimizer of the inner objective that Newton's method finds."""
    problem, _ = built.instance.at(0)
    flat, back = trees.ravel(own(built, state))

    def gradient(w: Tensor) -> Tensor:
        found: Tensor = torch.func.grad(lambda w: problem.inner(back(w), state.lam))(w)
        return found

    for _ in range(30):
        flat = flat - torch.linalg.solve(torch.func.jacfwd(gradient)(flat), gradient(flat))
    assert gradient(flat).norm() < 1e-10
    return float(problem.outer(back(flat), state.lam))


@pytest.mark.parametrize("problem", ["logistic", "cleaning"])
def test_the_inner_solution_variance_reduction_converges_linearly_where_soba_has_a_floor(problem: str) -> None:
    knobs = {"inner_rate": 0.1, "outer_rate": 1e-9}  # lam stands still, and so does w*(lam)
    built, states, _ = walk(problem, 300, kind="soba", **knobs)
    floor = min(inner_gradient(built, state) for state in states[200::10])
    for kind in ("saba", "srba"):
        built, states, _ = walk(problem, 300, kind=kind, **knobs)
        half, whole = (inner_gradient(built, states[k]) for k in (150, 300))
        assert whole < half / 5, kind
        assert whole < floor / 20, kind


def test_single_loops_on_quadratics() -> None:
    """At the same constant rates: SABA and SRBA go below SOBA's floor, MA-SOBA moves lam more smoothly."""
    knobs = {"inner_rate": 0.1, "outer_rate": 0.1}
    ends, rough = {}, {}
    for kind in ("soba", "ma_soba", "saba", "srba"):
        built, states, norms = walk("quadratics", 600, kind=kind, **knobs)
        ends[kind] = sum(score(built, state, "quadratics") for state in states[500::10]) / 11
        rough[kind] = float(torch.tensor(norms[500:]).diff().abs().mean())
    assert ends["saba"] < ends["soba"] / 5
    assert ends["srba"] < ends["soba"] / 5
    assert rough["ma_soba"] < rough["soba"] / 3


@pytest.mark.parametrize(
    ("problem", "outer_rate", "steps"), [("quadratics", 0.2, 120), ("logistic", 4.0, 40), ("cleaning", 30.0, 60)]
)
def test_amigo_goes_below_stocbio_because_it_starts_the_linear_system_warm(
    problem: str, outer_rate: float, steps: int
) -> None:
    knobs = {"inner_rate": 0.1, "outer_rate": outer_rate}
    ends = {}
    for kind in ("amigo", "stocbio"):
        built, states, _ = walk(problem, steps, kind=kind, **knobs)
        ends[kind] = score(built, states[-1], problem)
    assert ends["amigo"] < (0.98 * ends["stocbio"] if problem == "cleaning" else 0.9 * ends["stocbio"])


def test_ttsa_and_f2sa_clean_labels_more_slowly_than_soba_for_as_many_oracle_calls() -> None:
    """1000 calls: 5, about 8.5 and 36 a hyperiteration."""
    knobs = {"inner_rate": 0.1, "outer_rate": 30.0}
    ends = {}
    for kind, steps in (("soba", 200), ("ttsa", 118), ("f2sa", 28)):
        built, states, _ = walk("cleaning", steps, kind=kind, **knobs)
        ends[kind] = score(built, states[-1], "cleaning")
    assert ends["soba"] < 0.9 * min(ends["ttsa"], ends["f2sa"])


def test_bome_with_all_examples_descends_monotonically_on_logistic_regression() -> None:
    """As published, once w is near its minimizer; at constant rates it does not on quadratics (stochastic.md)."""
    built, states, _ = walk("logistic", 60, kind="bome", batch=None, inner_rate=0.25, outer_rate=2.5)
    values = [score(built, state, "logistic") for state in states[8::4]]
    assert all(later < before for before, later in pairwise(values))
    assert values[-1] < 0.9 * values[0]
