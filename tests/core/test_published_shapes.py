"""Orderings that papers on stochastic bilevel optimization publish, on small versions of benchopt's three problems.

Random quadratics, logistic regression with a strength a feature, data hyper-cleaning: `benchmarks/stochastic.py` draws
the curves of the full ones.
"""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.bilevel import trees
from core.build import Built, build
from core.spec import Experiment

PROBLEMS: dict[str, dict[str, Any]] = {
    "quadratics": {
        "kind": "random_quadratics",
        "inner_dimension": 10,
        "outer_dimension": 4,
        "inner_examples": 256,
        "outer_examples": 128,
    },
    "logistic": {
        "kind": "regularization",
        "dataset": {"kind": "breast_cancer"},
        "loss": "logistic",
        "strength": "feature",
        "model": {"kind": "linear", "bias": False},
        "initial_strength": 1.0,
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
CONSTANT = {"inner_exponent": 0.0, "outer_exponent": 0.0}


def made(problem: str, algorithm: dict[str, Any]) -> Built:
    spec = {"problem": PROBLEMS[problem], "algorithm": algorithm, "resources": {"precision": "float64"}}
    return build(Experiment.model_validate(spec), device="cpu", data_dir=Path())


@cache
def flat_problem(problem: str) -> Any:
    """(L, E, w_0) on all examples, of a flat w."""
    stated = made(problem, {"kind": "soba"}).instance.at(0)[0]
    return stated.inner, stated.outer, stated.init


def value(problem: str, lam: Any) -> tuple[Tensor, Tensor]:
    """h(lam) and ||grad h(lam)||^2, by Newton's method and a dense system."""
    inner, outer, init = flat_problem(problem)
    flat, back = trees.ravel(init(lam))

    def gradient(w: Tensor, lam: Any) -> Tensor:
        found: Tensor = torch.func.grad(lambda w: inner(back(w), lam))(w)
        return found

    def curvature(w: Tensor) -> Tensor:
        found: Tensor = torch.func.jacrev(gradient)(w, lam)
        return found

    for _ in range(50):
        if gradient(flat, lam).norm() < 1e-11:
            break
        flat = flat - torch.linalg.solve(curvature(flat), gradient(flat, lam))
    assert gradient(flat, lam).norm() < 1e-9
    by_w, by_lam = torch.func.grad(lambda w, lam: outer(back(w), lam), argnums=(0, 1))(flat, lam)
    v = torch.linalg.solve(curvature(flat), by_w)
    cross = torch.func.grad(lambda lam: torch.dot(gradient(flat, lam), v))(lam)
    grad = trees.subtract(by_lam, cross)
    return outer(back(flat), lam), trees.dot(grad, grad)


def test_print() -> None:
    pass
