"""The hypergradient at a given inner solution by implicit differentiation: how the linear system is solved.

Softmax regression, and logistic regression of each class against the rest, with one log-strength a feature; MNIST's
images where BILEVEL_DATA_DIR has them, else random ones.
"""

import math
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.agreement import arrays, relative_error
from benchmarks.measure import Comparison, compare
from benchmarks.peers import peers
from core.bilevel import trees
from core.bilevel.hypergradients import stationarity
from core.bilevel.hypergradients.implicit import Condition, SolverAt, implicit_at
from core.bilevel.linear_models import LOGISTIC, SOFTMAX, LinearModel, walk
from core.bilevel.linear_models import implicit as analytic
from core.bilevel.linear_models.losses import Loss
from core.bilevel.linear_solve import Solver, cg
from core.bilevel.problem import Dynamics, Hypergradient, Problem, State, Tree
from core.datasets import mnist
from core.datasets.finding import find
from core.errors import DataMissing

EXAMPLES, FEATURES, CLASSES = 5000, 784, 10
STRENGTH = 0.01
ERROR = 1e-6
"""Largest relative error of the hypergradients that are compared."""
TOLERANCES = (1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7, 1e-7, 3e-8, 1e-8)
"""Each implementation gets the first with which it has no larger error."""
PEER_ERROR = 1e-5
"""That of the peers, whose tolerance is for the residual."""
PEER_TOLERANCES = (1e-6, 1e-7, 1e-8, 1e-9, 1e-10)
PRODUCTS = 10_000


class Data(NamedTuple):
    """Images and labels to fit and to validate, in double precision."""

    name: str
    x: Tensor
    y: Tensor
    x_validation: Tensor
    y_validation: Tensor


class Way(NamedTuple):
    """One implementation, for any tolerance."""

    condition: Condition
    solver: Callable[[float], SolverAt]


WAYS = {
    "CG, products by autograd": Way(stationarity, lambda tolerance: _plain(tolerance)),
    "CG, analytic products": Way(analytic.stationarity, lambda tolerance: _plain(tolerance)),
    "preconditioned CG": Way(
        analytic.stationarity, lambda tolerance: analytic.preconditioned(iterations=PRODUCTS, tolerance=tolerance)
    ),
    "preconditioned CG in float32, refined": Way(
        analytic.stationarity, lambda tolerance: analytic.mixed_precision(iterations=PRODUCTS, tolerance=tolerance)
    ),
}


def _plain(tolerance: float) -> SolverAt:
    solver: Solver = partial(cg, iterations=PRODUCTS, tolerance=tolerance)
    return lambda problem, state, lam: solver


def main(rounds: int) -> Iterator[Comparison]:
    """Both losses, on random data and on MNIST."""
    for data in (_random(), _mnist()):
        if data is not None:
            yield from (_compare(data, loss, rounds) for loss in (SOFTMAX, LOGISTIC))


def _compare(data: Data, loss: Loss, rounds: int) -> Comparison:
    problem, lam = _stated(data, loss)
    solution = State(problem.init(lam))
    there = Dynamics(lambda lam: solution, lambda t, s, lam: s)

    def hypergradient(way: Way, tolerance: float) -> Hypergradient:
        method = partial(implicit_at, condition=way.condition, solver_at=way.solver(tolerance))
        return method(problem, there, lam, steps=0)

    reference = hypergradient(WAYS["preconditioned CG"], 1e-12)
    candidates: dict[str, Callable[[], Any]] = {}
    for name, way in WAYS.items():
        tolerance, products = _enough(partial(hypergradient, way), reference.grad)
        candidates[f"{name} ({products} products)"] = partial(hypergradient, way, tolerance)
    if loss is SOFTMAX:  # what the peers' functions state
        candidates |= _of_peers(data, lam, problem, arrays(reference.grad))
    return compare(f"implicit, {loss.name}", f"{data.name}, strengths around {STRENGTH}", candidates, rounds)


def _of_peers(data: Data, lam: Any, problem: Problem, reference: list[Any]) -> dict[str, Callable[[], Any]]:
    """CG in double precision, each with the first tolerance that is enough for the error of peers."""
    module = peers("implicit")
    if module is None:
        return {}
    w: Any = problem.init(lam)
    solved = module.Solved(*data[1:], lam["log_strength"].squeeze(-1), w["weight"])
    ways: dict[str, Callable[[float], Any]] = {
        "JAXopt, CG": lambda tolerance: module.with_jaxopt(solved, tolerance=tolerance),
        "TorchOpt, CG": lambda tolerance: module.with_torchopt(solved, tolerance=tolerance),
        "JAXopt, default (normal equations)": lambda tolerance: module.with_jaxopt(
            solved, normal=True, tolerance=tolerance
        ),
    }
    return {name: _enough_of_peer(name, way, reference) for name, way in ways.items()}


def _enough_of_peer(name: str, way: Callable[[float], Any], reference: list[Any]) -> Callable[[], Any]:
    for tolerance in PEER_TOLERANCES:
        call: Callable[[], Any] = way(tolerance)
        if relative_error([call()], reference) <= PEER_ERROR:
            return call
    raise RuntimeError(f"{name} differs by more than {PEER_ERROR} with every tolerance down to {PEER_TOLERANCES[-1]}")


def _enough(hypergradient: Callable[[float], Hypergradient], reference: Tree) -> tuple[float, int]:
    """The largest tolerance with which it agrees with the reference, and the products that it takes."""
    for tolerance in TOLERANCES:
        found = hypergradient(tolerance)
        if trees.norm(trees.subtract(found.grad, reference)) <= ERROR * trees.norm(reference):
            return tolerance, int(found.diagnostics["solver_iterations"])
    raise RuntimeError(f"no tolerance down to {TOLERANCES[-1]} gives the hypergradient to {ERROR}")


def _stated(data: Data, loss: Loss) -> tuple[Problem, Tree]:
    """The problem with its solution as w_0."""
    spread = torch.randn(data.x.shape[1], 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    lam: Tree = {"log_strength": math.log(STRENGTH) + 0.5 * spread}
    targets = functional.one_hot(data.y, CLASSES).double()
    expected = functional.one_hot(data.y_validation, CLASSES).double()
    model = LinearModel(data.x, targets, loss, _strengths)
    w = model.tree(_solution(model, lam))

    def outer(w: Any, lam: Tree) -> Tensor:
        return loss.value(data.x_validation @ w["weight"], expected, -1).mean()

    return Problem(model.objective, outer, lambda lam: w, linear=model), lam


def _strengths(lam: Any) -> Tensor:
    strengths: Tensor = lam["log_strength"].exp()
    return strengths


def _solution(model: LinearModel, lam: Tree) -> Tensor:
    """Newton's method, each step by preconditioned CG, halved until the objective falls."""
    w = torch.zeros(model.x.shape[1], model.targets.shape[1], dtype=torch.float64)
    problem = Problem(model.objective, model.objective, lambda lam: (), linear=model)
    for _ in range(50):
        gradient = walk.gradient(model, walk.coefficients(model, 0.0, lam), w.mT).mT
        if torch.linalg.vector_norm(gradient) < 1e-10:
            return w
        here = State(model.tree(w))
        solve = analytic.preconditioned(tolerance=1e-3)(problem, here, lam)
        operator = analytic.stationarity(problem, _NOWHERE, here, lam, 0).operator
        found: Any = solve(operator, State(model.tree(gradient))).x
        move, size, before = model.matrix(found.w), 1.0, model.objective(here.w, lam)
        while size > 1e-6 and model.objective(model.tree(w - size * move), lam) > before + 1e-12:
            size /= 2
        w = w - size * move
    raise RuntimeError("Newton's method has not found the solution in 50 steps")


_NOWHERE = Dynamics(lambda lam: State(()), lambda t, s, lam: s)


def _random() -> Data:
    """Normal features of length one, labels by a noisy linear model."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2 * EXAMPLES, FEATURES, generator=generator, dtype=torch.float64) / FEATURES**0.5
    scores = x @ torch.randn(FEATURES, CLASSES, generator=generator, dtype=torch.float64)
    y = (scores + torch.randn(scores.shape, generator=generator, dtype=torch.float64)).argmax(-1)
    return _split(f"random, n = {EXAMPLES}, d = {FEATURES}", 10 * x, y)


def _mnist() -> Data | None:
    try:
        path = find("mnist", Path(os.environ.get("BILEVEL_DATA_DIR", "data")))
    except DataMissing:
        return None
    table = mnist.load(path)
    return _split(f"MNIST, n = {EXAMPLES}, d = {FEATURES}", table.x.double(), table.y)


def _split(name: str, x: Tensor, y: Tensor) -> Data:
    first, second = slice(0, EXAMPLES), slice(EXAMPLES, 2 * EXAMPLES)
    return Data(name, x[first].clone(), y[first], x[second].clone(), y[second])
