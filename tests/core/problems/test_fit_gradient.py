"""Gradients that are written out against those of the tape, and what is differentiated further of either."""

from pathlib import Path
from typing import Any

import pytest
import torch

from core.bilevel import trees
from core.bilevel.derivatives import WithGradient, gradient, vjp
from core.bilevel.finite_sum import oracles
from core.bilevel.problem import Tree
from core.build import build
from core.problems.instance import Instance
from core.spec import Experiment

WINE: dict[str, Any] = {"dataset": {"kind": "wine"}, "train": 30, "validation": 20}
TWO: dict[str, Any] = {"dataset": {"kind": "breast_cancer"}, "train": 30, "validation": 20}
PROBLEMS: dict[str, dict[str, Any]] = {
    "one strength": {"kind": "regularization", **WINE},
    "one a feature": {"kind": "regularization", **WINE, "strength": "feature"},
    "one a class": {"kind": "regularization", **WINE, "strength": "class"},
    "without offset": {"kind": "regularization", **WINE, "model": {"kind": "linear", "bias": False}},
    "logistic": {"kind": "regularization", **TWO, "loss": "logistic", "strength": "feature"},
    "squared": {"kind": "regularization", **WINE, "loss": "squared"},
    "numbers": {"kind": "regularization", "dataset": {"kind": "diabetes"}, "train": 30, "validation": 20},
    **{
        f"layers of {activation}": {
            "kind": "regularization",
            **WINE,
            "model": {"kind": "mlp", "hidden": [5, 4], "activation": activation},
            "strength": "layer",
        }
        for activation in ("tanh", "sigmoid", "relu")
    },
    "one strength of all layers": {"kind": "regularization", **WINE, "model": {"kind": "mlp", "hidden": [5]}},
    "folds": {"kind": "regularization", "dataset": {"kind": "wine"}, "folds": 3, "strength": "feature"},
    "folds of layers": {
        "kind": "regularization",
        "dataset": {"kind": "wine"},
        "folds": 3,
        "model": {"kind": "mlp", "hidden": [5]},
        "strength": "layer",
    },
    "cleaning": {"kind": "hyper_cleaning", **WINE, "l2": 0.3},
    "cleaning without decay": {"kind": "hyper_cleaning", **WINE, "l2": 0, "model": {"kind": "mlp", "hidden": [5]}},
    "clipped weights": {"kind": "hyper_cleaning", **WINE, "weights": {"kind": "clipped"}},
    "learned data": {"kind": "learned_data", **WINE, "examples_per_class": 4, "l2": 0.2},
    **{
        f"softmax heads {how}": {
            "kind": "hyper_representation",
            "model": {"kind": "mlp", "hidden": [4]},
            "query": 2,
            "meta_batch": 3,
            "l2": 0.3,
            **way,
        }
        for how, way in {"of five classes": {}, "of two to five": {"way_from": 2}}.items()
    },
    "linear representation": {
        "kind": "linear_representation",
        "features": {"kind": "pixels", "size": 4},
        "classes": 3,
        "test": 4,
    },
}


def built(problem: dict[str, Any], data_dir: Path, batch: int | None = None) -> Instance:
    algorithm = {"dynamics": {"kind": "heavy_ball", "batch": batch}}
    spec = {"problem": problem, "algorithm": algorithm, "resources": {"precision": "float64"}}
    return build(Experiment.model_validate(spec), device="cpu", data_dir=data_dir).instance


def moved(tree: Tree, seed: int, by: float = 0.3) -> Tree:
    generator = torch.Generator().manual_seed(seed)
    found: Tree = trees.map_leaves(
        lambda leaf: leaf + by * torch.rand(leaf.shape, generator=generator, dtype=leaf.dtype), tree
    )
    return found


def close(found: Tree, expected: Tree) -> None:
    trees.map_leaves(lambda a, b: torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13), found, expected)


@pytest.mark.parametrize("name", PROBLEMS)
def test_it_is_the_gradient_and_has_its_derivatives(name: str, synthetic_omniglot: Path) -> None:
    instance = built(PROBLEMS[name], synthetic_omniglot)
    problem, _ = instance.at(0)
    embed = problem.embed or (lambda lam: lam)
    lam = moved(instance.initial, 1, 0.1)
    w = moved(problem.init(embed(lam)), 2)
    assert isinstance(problem.inner, WithGradient)
    written, taped = gradient(problem.inner), gradient(problem.inner.value)
    found, pull = vjp(lambda w, lam: written(w, embed(lam)), w, lam)
    expected, right = vjp(lambda w, lam: taped(w, embed(lam)), w, lam)
    assert float(trees.norm(expected)) > 1e-2
    close(found, expected)
    direction = moved(w, 3)
    for part, known in zip(pull(direction), right(direction), strict=True):  # Hessian and cross product
        close(part, known)


@pytest.mark.parametrize("name", ["one a feature", "layers of tanh", "cleaning", "learned data"])
def test_minibatches_and_blocks_have_theirs(name: str, tmp_path: Path) -> None:
    instance = built(PROBLEMS[name], tmp_path, batch=7)
    problem, _ = instance.at(0)
    lam = moved(instance.initial, 1, 0.1)
    w = moved(problem.init(lam), 2)
    part = problem.minibatch
    assert isinstance(part, WithGradient)
    for t in (1, 2):
        close(gradient(part, 1)(t, w, lam), gradient(part.value, 1)(t, w, lam))
    assert float(trees.norm(trees.subtract(gradient(part, 1)(1, w, lam), gradient(part, 1)(2, w, lam)))) > 1e-3
    assert instance.finite_sum is not None
    asked = oracles(instance.finite_sum, batch=7, seed=0)
    for block in (None, 0, 1):
        inner = asked.inner(block)
        assert isinstance(inner, WithGradient)
        close(asked.inner_gradient(block, w, lam), gradient(inner.value)(w, lam))
