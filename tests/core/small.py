"""Every kind of problem in a small form, and experiments on them, for the matrices of tests."""

from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from core.bilevel import trees
from core.bilevel.problem import Hypergradient, Tree
from core.build import build, make_context
from core.inner import build_inner
from core.methods import build_method
from core.spec import KINDS, Experiment, kind_of

PROBLEMS: dict[str, dict[str, Any]] = {
    "quadratic": {"inner_dimension": 4, "outer_dimension": 2, "condition": 3},
    "random_quadratics": {
        "inner_dimension": 4,
        "outer_dimension": 3,
        "inner_examples": 50,
        "outer_examples": 50,
        "convexity": 0.5,
    },
    "regularization": {"train": 30, "validation": 20, "strength": "feature", "initial_strength": 0.5},
    "hyper_cleaning": {"dataset": {"kind": "wine"}, "train": 30, "validation": 20, "final_steps": 5, "l2": 0.8},
    "learned_optimizer": {
        "optimizer": {"kind": "mlp", "hidden": [3], "decays": [0.5]},
        "tasks": {"kind": "quadratics", "dimension": 3},
        "meta_batch": 2,
        "second_order": True,
    },
    "learned_data": {
        "dataset": {"kind": "wine"},
        "examples_per_class": 4,
        "train": 30,
        "validation": 20,
        "l2": 0.8,
        "draws": 2,
        "final_steps": 5,
    },
    "hyper_representation": {"model": {"kind": "mlp", "hidden": [2]}, "query": 2, "meta_batch": 2, "l2": 0.8},
    "multiclass_transfer": {"model": {"kind": "mlp", "hidden": [2]}, "query": 2, "batch": 6},
    "initialization": {"model": {"kind": "mlp", "hidden": [2]}, "query": 2, "meta_batch": 2, "proximal": 5},
    "linear_representation": {
        "features": {"kind": "pixels", "size": 4},
        "classes": 3,
        "test": 4,
        "strength": 0.8,
    },
}
"""Small, and each with one minimizer."""
OWN_DYNAMICS = ("learned_optimizer",)
"""Problems whose inner steps are their own: an experiment says nothing of dynamics."""
ALGORITHMS = [kind_of(member) for member in KINDS["algorithm"] if kind_of(member) != "nested"]
"""Those that go on from the inner variables of the last hyperiteration."""
JOINT: dict[str, Any] = {"outer_set": "support", "training_shot": 2}
"""What `joint` needs of its problem."""
CONVERGENT = ("gradient_descent", "heavy_ball", "nesterov", "line_search")
"""Dynamics that come to rest at the minimizer; the others dance around it with a constant rate."""
RATES = {"initialization": (0.02, 0.003)}
"""Of these and of the others, where 0.2 and 0.05 are too large: the first layer sees the pixels themselves."""
BATCH = 10
"""Of a minibatch; the problems that have minibatches have thirty or fifty examples."""


def kinds(section: str) -> list[str]:
    return [kind_of(member) for member in KINDS[section]]


def described(
    problem: str,
    method: str | dict[str, Any],
    dynamics: str,
    *,
    steps: int,
    precision: str = "float64",
    batch: int | None = None,
    **shape: Any,
) -> Experiment | None:
    """The spec, with `shape` instead of what the problem's small form has there; None where it is refused."""
    if problem in OWN_DYNAMICS and dynamics != "gradient_descent":
        return None
    convergent, other = RATES.get(problem, (0.2, 0.05))
    rate = convergent if dynamics in CONVERGENT else other
    chosen: dict[str, Any] = {"kind": dynamics, "rate": rate, "batch": batch}
    if dynamics in ("heavy_ball", "nesterov"):
        chosen["momentum"] = 0.5
    if dynamics in ("adam", "adamw", "rmsprop"):
        # The offset's gradient is zero but for rounding; with the default each step would blow that up 1e4-fold.
        chosen["epsilon"] = 1e-2
    named = {"kind": method} if isinstance(method, str) else method
    own: dict[str, Any] = {} if problem in OWN_DYNAMICS else {"dynamics": chosen}
    return accepted(problem, {"steps": steps, "hypergradient": named, **own}, precision, **shape)


def kept_on(problem: str, algorithm: str, precision: str = "float64") -> Experiment | None:
    """Five hyperiterations of an algorithm, with steps of lam that stand out from its rounding."""
    knobs: dict[str, Any] = {"batch": BATCH, "outer_rate": 1.0}
    if algorithm in ("real_time", "joint"):
        knobs = {"interval": 3}
    shape = JOINT if algorithm == "joint" and problem == "hyper_representation" else {}
    return accepted(problem, {"kind": algorithm, "hyperiterations": 5, **knobs}, precision, **shape)


def accepted(problem: str, algorithm: dict[str, Any], precision: str, **shape: Any) -> Experiment | None:
    """The spec; None where it is refused."""
    try:
        return Experiment.model_validate(
            {
                "problem": {"kind": problem, **PROBLEMS.get(problem, {}), **shape},
                "algorithm": algorithm,
                "resources": {"precision": precision},
                "evaluation": {"episodes": 2},
            }
        )
    except ValidationError as error:
        if {found["type"] for found in error.errors()} != {"impossible"}:
            raise
        return None


def hypergradient(spec: Experiment, data_dir: Path, device: str = "cpu") -> Hypergradient:
    """At a random place near the initial outer variables, the same for every spec of a problem."""
    context = make_context(spec, device=device, data_dir=data_dir)
    instance = build(spec, device=device, data_dir=data_dir).instance
    generator = torch.Generator().manual_seed(4)
    lam = trees.map_leaves(
        lambda leaf: leaf + 0.05 * torch.randn(leaf.shape, generator=generator, dtype=torch.float64).to(leaf),
        instance.initial,
    )
    methods = build_method(spec, build_inner(spec.algorithm), context)
    problem, phi = instance.at(0)
    return methods.at(0, methods.init(problem, phi, lam))(problem, phi, lam, steps=spec.algorithm.steps)


def error(found: Hypergradient, expected: Hypergradient) -> float:
    """Relative."""
    return difference(found.grad, expected.grad)


def difference(found: Tree, expected: Tree) -> float:
    """Relative."""
    here, right = (trees.map_leaves(lambda leaf: leaf.double().cpu(), each) for each in (found, expected))
    return float(trees.norm(trees.subtract(here, right)) / trees.norm(right))
