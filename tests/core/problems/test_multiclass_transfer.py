"""Transfer from a classifier: its gradient is plain autograd, and its scores are the features of episodes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from core.bilevel import trees
from core.bilevel.problem import Hypergradient
from core.bilevel.randomness import stream
from core.build import Built, build_representation
from core.datasets.omniglot import load_omniglot
from core.models.image_sets import image_sets
from core.spec.datasets import Omniglot
from core.spec.models import Conv4

DATASET: dict[str, Any] = {"kind": "omniglot", "rotations": False}
PROBLEM: dict[str, Any] = {
    "kind": "multiclass_transfer",
    "dataset": DATASET,
    "model": {"kind": "conv4", "filters": 3},
    "batch": 12,
    "way": 3,
    "shot": 2,
    "query": 4,
}
CLASSES = 1200


def test_the_hypergradient_is_plain_autograd(
    built: Callable[..., Built], hypergradient: Callable[..., Hypergradient], synthetic_omniglot: Path
) -> None:
    algorithm = {"hypergradient": {"kind": "exact"}}
    instance = built(PROBLEM, algorithm, data_dir=synthetic_omniglot).instance
    images = load_omniglot(Omniglot(rotations=False), seed=0, data_dir=synthetic_omniglot).train
    drawn = torch.randint(CLASSES * 20, (12,), generator=stream(0, "images", 0))
    x = torch.stack([images[int(i) // 20, int(i) % 20] for i in drawn]).double() / 255
    labels = torch.tensor([int(i) // 20 for i in drawn])
    below = build_representation(Conv4(filters=3), Omniglot(), torch.float64)
    lam: Any = trees.map_leaves(lambda leaf: leaf.clone().requires_grad_(), instance.initial)
    parts = lam["representation"]
    features = below.apply(parts["below"], x, image_sets((1, 12), device=x.device, dtype=x.dtype))
    assert features.shape == (12, 12)
    scores = features @ parts["scores"]["weight"] + parts["scores"]["bias"]
    assert scores.shape == (12, CLASSES)
    loss = functional.cross_entropy(scores, labels)
    leaves, structure = trees.flatten(lam)
    expected: Any = trees.unflatten(list(torch.autograd.grad(loss, leaves)), structure)
    for method in ("exact", "reverse", "unrolled", "first_order"):
        chosen = {"steps": 3, "hypergradient": {"kind": method}}
        found = hypergradient(PROBLEM, chosen, data_dir=synthetic_omniglot)
        assert trees.norm(trees.subtract(found.grad, expected)) <= 1e-10 * trees.norm(expected), method
        torch.testing.assert_close(found.outer_loss, loss.detach())
        assert float(found.diagnostics["inner_gradient_norm"]) == 0


def test_minibatches_are_a_function_of_seed_and_hyperiteration(
    built: Callable[..., Built], synthetic_omniglot: Path
) -> None:
    def scores(k: int, seed: int) -> Any:
        instance = built(PROBLEM, data_dir=synthetic_omniglot, seed=seed).instance
        embed = instance.at(k)[0].embed
        assert embed is not None
        z: Any = embed(instance.initial)
        return z["scores"]

    assert torch.equal(scores(3, 0), scores(3, 0))
    assert not torch.allclose(scores(3, 0), scores(4, 0))
    assert not torch.allclose(scores(3, 0), scores(3, 1))


def test_heads_are_fitted_by_the_inner_steps_in_evaluations(
    built: Callable[..., Built], synthetic_omniglot: Path
) -> None:
    def loss(steps: int, rate: float) -> float:
        dynamics = {"kind": "gradient_descent", "rate": rate}
        algorithm = {"steps": steps, "dynamics": dynamics, "hypergradient": {"kind": "exact"}}
        instance = built(PROBLEM, algorithm, data_dir=synthetic_omniglot, evaluation={"episodes": 10}).instance
        return instance.evaluate(instance.initial).test["loss"].mean

    start = torch.tensor(3.0).log().item()  # the uniform prediction of w_0 = 0
    assert loss(1, 1e-9) == pytest.approx(start, abs=1e-6)
    assert loss(10, 0.05) < loss(1, 0.05) < start


def test_a_number_added_to_all_scores_changes_nothing(built: Callable[..., Built], synthetic_omniglot: Path) -> None:
    instance = built(PROBLEM, data_dir=synthetic_omniglot, evaluation={"episodes": 3}).instance
    moved: Any = trees.map_leaves(torch.clone, instance.initial)
    moved["representation"]["scores"]["bias"] += 100
    moved["representation"]["scores"]["weight"] += torch.arange(12.0, dtype=torch.float64).unsqueeze(1)
    embed = instance.at(0)[0].embed
    assert embed is not None
    z, other = embed(instance.initial), embed(moved)
    torch.testing.assert_close(other, z)
    assert float(z["scores"].mean(1).abs().max()) < 1e-12  # type: ignore[call-overload,index,union-attr]
    before, after = (instance.evaluate(lam).test["loss"].mean for lam in (instance.initial, moved))
    assert after == pytest.approx(before, rel=1e-9)


def test_learning_to_classify_helps_with_new_classes(built: Callable[..., Built], synthetic_omniglot: Path) -> None:
    problem = {**PROBLEM, "model": {"kind": "conv4", "filters": 8}, "batch": 64, "shot": 1}
    algorithm = {
        "steps": 5,
        "dynamics": {"kind": "gradient_descent", "rate": 0.001},
        "hypergradient": {"kind": "exact"},
        "optimizer": {"kind": "adam", "rate": 0.005},
    }
    instance, made = built(problem, algorithm, data_dir=synthetic_omniglot, evaluation={"episodes": 60})
    state = made.init(instance.initial)
    before, losses = instance.evaluate(state.lam).test["accuracy"], []
    for k in range(120):
        state, series = made.step(k, state)
        losses.append(float(series["outer_objective"]))
    after = instance.evaluate(state.lam).test["accuracy"]
    assert sum(losses[-20:]) < sum(losses[:20])
    assert after.mean > before.mean
