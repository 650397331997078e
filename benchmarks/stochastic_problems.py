"""The three problems of benchopt's benchmark_bilevel: their specs, what is measured on them, which rates are tried.

Every seed sees the same data (the spec's seed 0); what differs is the order of the minibatches.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor
from torch.nn.functional import softplus

from core.bilevel.problem import Algorithm, AlgorithmState
from core.build import make_context
from core.problems import tables
from core.problems.inner import entry
from core.problems.instance import Instance
from core.settings import settings
from core.spec import Experiment
from core.spec.problems import Regularization

Values = dict[str, float]
Measure = Callable[[Algorithm, AlgorithmState], Values]
Knobs = Mapping[str, Any]


class Case(NamedTuple):
    """One problem, and how the ten algorithms are run on it."""

    problem: dict[str, Any]
    precision: str
    calls: int
    """Oracle calls that an algorithm of minibatches may make: gradients and products, of 64 examples each."""
    full_batch: Mapping[str, int]
    """Hyperiterations of what takes all examples at every step."""
    chosen_by: str
    """The value whose end chooses the rates."""
    measure: Callable[[Experiment, Instance], Measure]
    rates: tuple[tuple[float, float], ...]
    """(inner rate, outer rate), a small part of benchopt's grid: outer rate = inner rate / outer_ratio."""
    own: Mapping[str, tuple[Knobs, ...]]
    """For some algorithms, what is tried in place of `rates`."""
    anchors: Mapping[str, Knobs]
    """Algorithms of the nested kind on all examples."""


def _quadratics(spec: Experiment, instance: Instance) -> Measure:
    """||grad h(lam)||^2 and h(lam) - min h in closed form."""

    def measure(algorithm: Algorithm, state: AlgorithmState) -> Values:
        test = instance.evaluate(state.lam).test
        return {name: test[name].mean for name in ("squared_gradient", "suboptimality")}

    return measure


def _cleaning(spec: Experiment, instance: Instance) -> Measure:
    """Of the inner variables that the algorithm keeps, or that T steps give: validation loss and error, test error."""

    def measure(algorithm: Algorithm, state: AlgorithmState) -> Values:
        scores = instance.evaluate(state.lam, algorithm.inner(state) if algorithm.inner else None)
        return {
            "validation_error": 1 - scores.validation["accuracy"].mean,
            "validation_loss": scores.validation["loss"].mean,
            "test_error": 1 - scores.test["accuracy"].mean,
        }

    return measure


class Logistic(NamedTuple):
    """h in float64, with w*(lam) by Newton's method to ||grad_w L|| < 1e-10."""

    inner: Tensor
    """Rows y_i x_i of the training set, y_i in {-1, 1}."""
    outer: Tensor
    """The same of the validation set."""

    def at(self, lam: Tensor, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """h(lam), grad h(lam) and w*(lam), found from `start`."""
        strength = lam.exp()
        w = newton(self.inner, strength, start)
        margin = self.outer @ w
        v = torch.linalg.solve(
            hessian(self.inner, strength, w), -(self.outer.T @ torch.sigmoid(-margin)) / len(self.outer)
        )
        return softplus(-margin).mean(), -strength * w * v, w  # grad h = -(grad_lam,w L) H^-1 grad_w E

    def origin(self) -> Tensor:
        """w = 0."""
        return torch.zeros(self.inner.shape[1], dtype=torch.float64)


def logistic(spec: Experiment) -> Logistic:
    """Loads the data as the instance does."""
    assert isinstance(spec.problem, Regularization)
    context = make_context(spec, device="cpu", data_dir=settings().data_dir)
    train, validation, _ = tables.load(spec.problem, context).split
    return Logistic(*(_signed(part.x.double(), part.y) for part in (train, validation)))


def _logistic(spec: Experiment, instance: Instance) -> Measure:
    """h(lam) and ||grad h(lam)||^2."""
    h = logistic(spec)
    last = [h.origin()]

    def measure(algorithm: Algorithm, state: AlgorithmState) -> Values:
        lam = entry(state.lam, "log_strength").double()
        if not bool(lam.exp().isfinite().all()):
            return {"value": float("nan"), "squared_gradient": float("nan")}
        value, gradient, last[0] = h.at(lam, last[0])
        return {"value": float(value), "squared_gradient": float(gradient.square().sum())}

    return measure


def least(spec: Experiment, instance: Instance) -> float:
    """min h over -12 <= lam_j <= 12, by L-BFGS-B from the instance's lam, as far as it comes: h is not convex."""
    h = logistic(spec)

    def both(lam: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, gradient, _ = h.at(torch.from_numpy(lam), h.origin())
        return float(value), gradient.numpy()

    start = entry(instance.initial, "log_strength").double().numpy()
    knobs = {"maxiter": 150, "ftol": 1e-13, "gtol": 1e-9}
    found = minimize(both, start, jac=True, method="L-BFGS-B", bounds=[(-12, 12)] * len(start), options=knobs)
    return float(found.fun)


def _signed(x: Tensor, y: Tensor) -> Tensor:
    """Rows y_i x_i with y_i in {-1, 1}: the loss is log(1 + exp(-row'w))."""
    return x * (2 * y - 1).unsqueeze(-1)


def hessian(signed: Tensor, strength: Tensor, w: Tensor) -> Tensor:
    """grad_ww of mean log(1 + exp(-row'w)) + 1/2 sum_j strength_j w_j^2."""
    p = torch.sigmoid(signed @ w)
    return signed.T @ (signed * (p * (1 - p)).unsqueeze(-1)) / len(signed) + torch.diag(strength)


def newton(signed: Tensor, strength: Tensor, w: Tensor, tolerance: float = 1e-10) -> Tensor:
    """argmin of the same, with steps halved until they descend."""

    def value(w: Tensor) -> Tensor:
        return softplus(-(signed @ w)).mean() + 0.5 * (strength * w * w).sum()

    for _ in range(100):
        gradient = -(signed.T @ torch.sigmoid(-(signed @ w))) / len(signed) + strength * w
        if gradient.norm() < tolerance:
            return w
        step = torch.linalg.solve(hessian(signed, strength, w), gradient)
        size = 1.0
        while size > 1e-3 and value(w - size * step) > value(w) + 1e-15:
            size /= 2
        w = w - size * step
    raise ArithmeticError("Newton's method did not reach ||grad_w L|| < 1e-10 in 100 steps")


def _knobs(rates: tuple[tuple[float, float], ...], **others: Any) -> tuple[Knobs, ...]:
    return tuple({"inner_rate": inner, "outer_rate": outer, **others} for inner, outer in rates)


def _nested(steps: int, rate: float, hypergradient: Knobs, outer_rate: float) -> Knobs:
    return {
        "kind": "nested",
        "steps": steps,
        "dynamics": {"kind": "gradient_descent", "rate": rate},
        "hypergradient": hypergradient,
        "optimizer": {"kind": "sgd", "rate": outer_rate},
    }


def _implicit(**others: Any) -> Knobs:
    solver = {"kind": "cg", "iterations": 20, "tolerance": 1e-8}
    return {"kind": "implicit", "solver": solver, "warm_start": True, **others}


QUADRATICS = {
    "kind": "random_quadratics",
    "inner_dimension": 100,
    "outer_dimension": 10,
    "inner_examples": 32768,
    "outer_examples": 1024,
    "convexity": 0.1,
    "smoothness": 1.0,
    "coupling": 0.1,
}
LOGISTIC = {
    "kind": "regularization",
    "loss": "logistic",
    "strength": "feature",
    "model": {"kind": "linear", "bias": False},
    "initial_strength": 1.0,
    "initial_spread": 1.0,
    "initial_deviation": 1.0,
}
CLEANING = {
    "kind": "hyper_cleaning",
    "dataset": {"kind": "mnist"},
    "model": {"kind": "linear", "bias": False},
    "weights": {"kind": "sigmoid", "initial": 0.11920292202211755},  # lam = -2
    "train": 20000,
    "validation": 5000,
    "test": 10000,
    "corruption": 0.5,
    "flip": "any",
    "l2": 0.4,  # 0.2 ||z||^2
}
CALM = ((0.125, 1.25), (0.25, 2.5), (0.25, 0.25))
CLEAN = ((0.1, 100.0), (0.01, 100.0), (0.01, 1000.0))

CASES = {
    "quadratics": Case(
        QUADRATICS,
        "float64",
        15000,
        {"bome": 1500, "reverse": 100, "implicit": 100},
        "squared_gradient",
        _quadratics,
        ((0.1, 0.1), (0.1, 1.0), (0.01, 0.1)),
        {
            "f2sa": (*_knobs(((0.1, 0.1), (0.1, 1.0)), multiplier=1.0), *_knobs(((0.1, 0.1),), multiplier=10.0)),
            "bome": _knobs(((0.1, 0.1), (0.1, 1.0), (0.01, 0.1))),
            "pbgd": _knobs(((0.1, 0.01), (0.1, 0.1), (0.01, 0.01))),
        },
        {
            "reverse": _nested(100, 1.0, {"kind": "reverse"}, 0.8),
            "implicit": _nested(10, 1.0, _implicit(warm_start_inner=True), 0.8),
        },
    ),
    "a9a": Case(
        {**LOGISTIC, "dataset": {"kind": "a9a"}},
        "float64",
        7500,
        {"bome": 150, "reverse": 20, "implicit": 40},
        "value",
        _logistic,
        CALM,
        {"pbgd": _knobs(((0.25, 0.25), (0.25, 2.5), (0.125, 1.25)))},
        {
            "reverse": _nested(100, 0.25, {"kind": "reverse"}, 25.0),
            "implicit": _nested(100, 0.25, _implicit(), 25.0),
        },
    ),
    "magic": Case(
        {**LOGISTIC, "dataset": {"kind": "magic"}, "train": 12000, "validation": 4000},
        "float64",
        10000,
        {"bome": 500, "reverse": 60, "implicit": 60},
        "value",
        _logistic,
        CALM,
        {"pbgd": _knobs(((0.25, 0.25), (0.25, 2.5), (0.125, 1.25)))},
        {
            "reverse": _nested(100, 0.25, {"kind": "reverse"}, 25.0),
            "implicit": _nested(100, 0.25, _implicit(), 25.0),
        },
    ),
    "cleaning": Case(
        CLEANING,
        "float32",
        10000,
        {"bome": 40, "reverse": 15, "implicit": 25},
        "validation_error",
        _cleaning,
        CLEAN,
        {"pbgd": _knobs(((0.1, 100.0), (0.1, 10.0), (0.01, 100.0)))},
        {
            "reverse": _nested(50, 0.1, {"kind": "reverse"}, 10000.0),
            "implicit": _nested(50, 0.1, _implicit(), 10000.0),
        },
    ),
}
"""a9a and magic stand in for ijcnn1, with its objective."""
