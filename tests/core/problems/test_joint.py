"""Joint training = a written-out loop of ordinary multitask learning."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from core.bilevel import trees
from core.build import Built

PROBLEM: dict[str, Any] = {
    "kind": "hyper_representation",
    "model": {"kind": "conv4", "filters": 3},
    "way": 3,
    "shot": 1,
    "query": 4,
    "meta_batch": 2,
    "outer_set": "support",
    "training_shot": 4,
}
INTERVAL, RATE, OUTER_RATE = 3, 0.2, 0.05


def joint(optimizer: str = "sgd", **dynamics: Any) -> dict[str, Any]:
    chosen = {"kind": "gradient_descent", "rate": RATE, **dynamics}
    outer = {"kind": optimizer, "rate": OUTER_RATE}
    return {"kind": "joint", "interval": INTERVAL, "dynamics": chosen, "optimizer": outer}


def test_joint_training_is_a_written_out_loop(built: Callable[..., Built], synthetic_omniglot: Path) -> None:
    instance, algorithm = built(PROBLEM, joint(), data_dir=synthetic_omniglot)
    state = algorithm.init(instance.initial)
    leaves, structure = trees.flatten(instance.initial)
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    labels = torch.arange(3).repeat_interleave(4)
    for k in range(2 * INTERVAL + 1):
        embed = instance.at(k // INTERVAL)[0].embed
        assert embed is not None
        z: Any = embed(trees.unflatten(leaves, structure))
        tasks = z["support"]
        if k % INTERVAL == 0:
            heads = [
                [torch.zeros(tasks.shape[2], 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)]
                for _ in range(2)
            ]
        heads = [[part.detach().requires_grad_() for part in head] for head in heads]
        losses = [functional.cross_entropy(x @ w + b, labels) for x, (w, b) in zip(tasks, heads, strict=True)]
        loss = losses[0] + losses[1]
        parts = [part for head in heads for part in head]
        moves = torch.autograd.grad(loss, [*leaves, *parts])
        state, series = algorithm.step(k, state)
        assert (float(series["hypergradient_norm"]) == 0) is (k % INTERVAL == 0)
        torch.testing.assert_close(series["inner_objective"], loss.detach())
        torch.testing.assert_close(series["outer_objective"], loss.detach() / 2)
        torch.testing.assert_close(series["hypergradient_norm"], trees.norm(list(moves[: len(leaves)])) / 2)
        torch.testing.assert_close(series["inner_gradient_norm"], trees.norm(list(moves[len(leaves) :])))
        # lam along the mean over tasks, each head along the gradient of its own loss
        by_lam, by_heads = moves[: len(leaves)], iter(moves[len(leaves) :])
        leaves = [
            (leaf - OUTER_RATE * move / 2).detach().requires_grad_() for leaf, move in zip(leaves, by_lam, strict=True)
        ]
        heads = [[part - RATE * next(by_heads) for part in head] for head in heads]
        expected = trees.unflatten(leaves, structure)
        moved = trees.subtract(expected, instance.initial)
        assert trees.norm(trees.subtract(state.lam, expected)) <= 1e-10 * trees.norm(moved)
        assert algorithm.inner is not None
        stacked = torch.stack([torch.cat([w, b.unsqueeze(0)]) for w, b in heads]).detach()
        torch.testing.assert_close(algorithm.inner(state), stacked)


def test_no_momentum_moves_the_representation_in_the_heads_own_step(
    built: Callable[..., Built], synthetic_omniglot: Path
) -> None:
    instance, algorithm = built(PROBLEM, joint("adam"), data_dir=synthetic_omniglot)
    state = algorithm.init(instance.initial)
    for k in range(2 * INTERVAL + 1):
        after, _ = algorithm.step(k, state)
        still = trees.norm(trees.subtract(after.lam, state.lam)) == 0
        assert still == (k % INTERVAL == 0)
        state = after


def test_adam_counts_its_own_steps(built: Callable[..., Built], synthetic_omniglot: Path) -> None:
    """Its first step goes the whole rate along the sign of the gradient, though the first hyperiteration has none."""
    instance, algorithm = built(PROBLEM, joint("adam"), data_dir=synthetic_omniglot)
    state = algorithm.init(instance.initial)
    for k in range(2):
        before, (state, _) = state, algorithm.step(k, state)
    moved = trees.ravel(trees.subtract(state.lam, before.lam))[0].abs()
    assert float(moved.median()) == pytest.approx(OUTER_RATE, rel=1e-4)


@pytest.mark.parametrize(
    "dynamics", [{"kind": "heavy_ball", "momentum": 0.5}, {"kind": "adam"}, {"kind": "line_search"}]
)
def test_heads_take_steps_of_any_dynamics(
    built: Callable[..., Built], synthetic_omniglot: Path, dynamics: dict[str, Any]
) -> None:
    instance, algorithm = built(PROBLEM, joint("adam", **dynamics), data_dir=synthetic_omniglot)
    state, losses = algorithm.init(instance.initial), []
    for k in range(INTERVAL):
        state, series = algorithm.step(k, state)
        losses.append(float(series["inner_objective"]))
    assert losses[-1] < losses[0] == pytest.approx(2 * torch.tensor(3.0).log().item())


def test_it_learns_a_representation_for_new_classes(built: Callable[..., Built], synthetic_omniglot: Path) -> None:
    problem = {**PROBLEM, "model": {"kind": "conv4", "filters": 8}, "meta_batch": 4}
    algorithm = {**joint(), "optimizer": {"kind": "adam", "rate": 0.003}, "steps": 5}
    instance, made = built(problem, algorithm, data_dir=synthetic_omniglot, evaluation={"episodes": 60})
    state = made.init(instance.initial)
    before = instance.evaluate(state.lam).test["loss"]
    for k in range(60):
        state, _ = made.step(k, state)
    after = instance.evaluate(state.lam).test["loss"]
    assert after.mean < before.mean - 2 * before.ci95
