"""The variants of section 5.3 and other heads on hyper-representation: against independent computations, end to end."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from core.bilevel import trees
from core.bilevel.problem import Hypergradient
from core.build import Built
from core.checkpointing import MemoryCheckpoints
from core.recording import MemoryRecorder
from core.run import Finished, run
from core.spec import Experiment
from core.spec.shortcuts import walks_in_dual
from tests.core.problems.conftest import SMALL

GD = {"kind": "gradient_descent", "rate": 0.1}
RIDGE, PROTOTYPES = {"heads": {"kind": "ridge", "strength": 1.0}}, {"heads": {"kind": "prototypes"}}
TRAIN = {"outer_set": "support", "training_shot": 4}
STEPS = 5


def close(found: Any, expected: Any, tolerance: float = 1e-9) -> None:
    assert trees.norm(expected) > 0
    assert trees.norm(trees.subtract(found, expected)) <= tolerance * trees.norm(expected)


def unrolled_by_hand(support: Tensor, outer: Tensor, *, detached: bool) -> Tensor:
    """E of heads fitted by STEPS steps task by task; `detached`: as if w_T did not depend on the features."""
    n = support.shape[1]
    support_labels, outer_labels = (torch.arange(3).repeat_interleave(size // 3) for size in (n, outer.shape[1]))
    losses = []
    for x, q in zip(support, outer, strict=True):
        w, b = x.new_zeros(x.shape[1], 3), x.new_zeros(3)
        for _ in range(STEPS):
            residual = ((x @ w + b).softmax(1) - functional.one_hot(support_labels, 3)) / n
            w, b = w - 0.1 * x.T @ residual, b - 0.1 * residual.sum(0)
        if detached:
            w, b = w.detach(), b.detach()
        losses.append(functional.cross_entropy(q @ w + b, outer_labels))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("train", [{}, TRAIN], ids=["query", "support"])
def test_full_and_approx_are_plain_autograd_with_and_without_what_flows_through_w(
    built: Callable[..., Built],
    hypergradient: Callable[..., Hypergradient],
    synthetic_omniglot: Path,
    train: dict[str, Any],
) -> None:
    problem, algorithm = {**SMALL, **train}, {"steps": STEPS, "dynamics": GD}
    instance = built(problem, algorithm, data_dir=synthetic_omniglot).instance
    embed = instance.at(0)[0].embed
    assert embed is not None
    lam: Any = trees.map_leaves(lambda leaf: leaf.clone().requires_grad_(), instance.initial)
    z: Any = embed(lam)

    def gradient(value: Tensor) -> Any:
        leaves, structure = trees.flatten(lam)
        return trees.unflatten(list(torch.autograd.grad(value, leaves, retain_graph=True)), structure)

    full, approx = (
        hypergradient(problem, {**algorithm, "hypergradient": {"kind": kind}}, data_dir=synthetic_omniglot)
        for kind in ("reverse", "first_order")
    )
    whole = gradient(unrolled_by_hand(z["support"], z["query"], detached=False))
    direct = gradient(unrolled_by_hand(z["support"], z["query"], detached=True))
    through_w = gradient(unrolled_by_hand(z["support"], z["query"].detach(), detached=False))
    close(full.grad, whole)
    close(approx.grad, direct)
    close(trees.subtract(full.grad, approx.grad), through_w)
    assert trees.norm(approx.grad) > 0.1 * trees.norm(full.grad)
    torch.testing.assert_close(full.outer_loss, approx.outer_loss)


def test_on_the_support_set_the_outer_objective_is_the_inner_one(
    built: Callable[..., Built], hypergradient: Callable[..., Hypergradient], synthetic_omniglot: Path
) -> None:
    problem, algorithm = {**SMALL, **TRAIN}, {"steps": STEPS, "dynamics": GD}
    instance = built(problem, algorithm, data_dir=synthetic_omniglot).instance
    stated, _ = instance.at(0)
    assert stated.embed is not None
    assert stated.tasks is not None
    assert stated.tasks.data.keys() == {"support"}  # type: ignore[union-attr]
    z: Any = stated.embed(instance.initial)
    assert z["support"].shape[1] == z["query"].shape[1] == 3 * 4
    found = hypergradient(problem, algorithm, data_dir=synthetic_omniglot)
    torch.testing.assert_close(found.outer_loss, found.diagnostics["inner_objective_end"] / 2)


@pytest.mark.parametrize("train", [{}, TRAIN, {"training_shot": 3}], ids=["query", "support", "shot"])
def test_the_dual_walk_is_the_plain_formulation_whatever_the_outer_set(
    hypergradient: Callable[..., Hypergradient], synthetic_omniglot: Path, train: dict[str, Any]
) -> None:
    problem, algorithm = {**SMALL, **train}, {"steps": STEPS, "dynamics": {**GD, "learn_rate": True}}
    assert walks_in_dual(Experiment.model_validate({"problem": problem, "algorithm": algorithm}))
    walked = hypergradient(problem, algorithm, data_dir=synthetic_omniglot)
    for method in ({"kind": "unrolled"}, {"kind": "reverse", "segment": 2}):
        plain = hypergradient(problem, {**algorithm, "hypergradient": method}, data_dir=synthetic_omniglot)
        close(walked.grad, plain.grad)


@pytest.mark.parametrize("heads", [RIDGE, PROTOTYPES], ids=["ridge", "prototypes"])
@pytest.mark.parametrize("train", [{}, TRAIN], ids=["query", "support"])
def test_other_heads_do_not_walk_in_the_dual(heads: dict[str, Any], train: dict[str, Any]) -> None:
    spec = {"problem": {**SMALL, **heads, **train}, "algorithm": {"dynamics": GD, "hypergradient": {"kind": "reverse"}}}
    found = Experiment.model_validate(spec)
    assert not walks_in_dual(found)


@pytest.mark.parametrize(("heads", "rate"), [(RIDGE, 0.05), (PROTOTYPES, 2.0)], ids=["ridge", "prototypes"])
def test_reverse_tends_to_the_closed_form_through_the_network(
    hypergradient: Callable[..., Hypergradient], synthetic_omniglot: Path, heads: dict[str, Any], rate: float
) -> None:
    problem = {**SMALL, **heads}
    expected = hypergradient(problem, {"hypergradient": {"kind": "exact"}}, data_dir=synthetic_omniglot)

    def error(steps: int) -> float:
        algorithm = {"steps": steps, "dynamics": {**GD, "rate": rate}}
        found = hypergradient(problem, algorithm, data_dir=synthetic_omniglot)
        return float(trees.norm(trees.subtract(found.grad, expected.grad)) / trees.norm(expected.grad))

    errors = [error(steps) for steps in (3, 30, 600)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-6


@pytest.mark.parametrize("heads", [RIDGE, PROTOTYPES], ids=["ridge", "prototypes"])
def test_a_closed_form_in_chunks_is_the_whole_meta_batch(
    hypergradient: Callable[..., Hypergradient], synthetic_omniglot: Path, heads: dict[str, Any]
) -> None:
    algorithm = {"hypergradient": {"kind": "exact"}}
    get = partial(hypergradient, algorithm=algorithm, data_dir=synthetic_omniglot)
    whole, chunked = (get({**SMALL, **heads, "meta_batch": 3, **chunk}) for chunk in ({}, {"task_chunk": 2}))
    close(chunked.grad, whole.grad)
    torch.testing.assert_close(chunked.outer_loss, whole.outer_loss)


@pytest.mark.parametrize("heads", [{"l2": 0.5}, RIDGE, PROTOTYPES], ids=["softmax", "ridge", "prototypes"])
def test_implicit_differentiation_of_every_kind_of_heads(
    hypergradient: Callable[..., Hypergradient], synthetic_omniglot: Path, heads: dict[str, Any]
) -> None:
    problem = {**SMALL, **heads}
    dynamics = {**GD, "rate": 2.0 if heads is PROTOTYPES else 0.05}
    solver = {"kind": "cg", "tolerance": 1e-12, "iterations": 500}
    expected, found = (
        hypergradient(
            problem, {"steps": 1500, "dynamics": dynamics, "hypergradient": method}, data_dir=synthetic_omniglot
        )
        for method in ({"kind": "reverse"}, {"kind": "implicit", "solver": solver})
    )
    close(found.grad, expected.grad, 1e-6)


@pytest.mark.parametrize("train", [TRAIN, {"training_way": 5}, {"training_query": 1}], ids=["shot", "way", "query"])
def test_training_sets_are_for_meta_training_alone(
    built: Callable[..., Built], synthetic_omniglot: Path, train: dict[str, Any]
) -> None:
    knobs: dict[str, Any] = {"data_dir": synthetic_omniglot, "evaluation": {"episodes": 5}}
    plain, other = (built({**SMALL, **chosen}, {"steps": 3}, **knobs).instance for chosen in ({}, train))
    assert other.evaluate(other.initial) == plain.evaluate(plain.initial)


def test_meta_training_on_other_sets_is_that_of_a_problem_with_these(
    hypergradient: Callable[..., Hypergradient], synthetic_omniglot: Path
) -> None:
    direct = {**SMALL, "way": 4, "shot": 2, "query": 1}
    trained = {**SMALL, "training_way": 4, "training_shot": 2, "training_query": 1}
    ours, theirs = (hypergradient(problem, {"steps": 3}, data_dir=synthetic_omniglot) for problem in (trained, direct))
    assert torch.equal(ours.outer_loss, theirs.outer_loss)
    close(ours.grad, theirs.grad, 1e-14)


def test_outer_variables_of_ridge_heads_are_series_and_learned(
    built: Callable[..., Built], synthetic_omniglot: Path
) -> None:
    problem = {**SMALL, "heads": {"kind": "ridge", "strength": 0.5, "scale": 4}}
    algorithm = {"hypergradient": {"kind": "exact"}, "optimizer": {"kind": "sgd", "rate": 0.1}}
    instance, made = built(problem, algorithm, data_dir=synthetic_omniglot)
    before = instance.natural(instance.initial)
    assert {name: float(value) for name, value in before.items()} == pytest.approx(
        {"strength": 0.5, "scale": 4, "offset": 0}
    )
    state, _ = made.step(0, made.init(instance.initial))
    after = instance.natural(state.lam)
    assert float(after["strength"]) != pytest.approx(0.5, rel=1e-6)
    assert float(after["scale"]) != pytest.approx(4, rel=1e-6)
    assert float(after["offset"]) == pytest.approx(0, abs=1e-12)


EXACT = {"hypergradient": {"kind": "exact"}}
APPROX = {"hypergradient": {"kind": "first_order"}}
JOINT = {"kind": "joint", "interval": 2}
TRANSFER = {"kind": "multiclass_transfer", "model": {"kind": "conv4", "filters": 2}, "way": 3, "query": 2, "batch": 6}
TINY = {**SMALL, "model": {"kind": "conv4", "filters": 2}}
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "approx": (TINY, APPROX),
    "approx-train": ({**TINY, **TRAIN}, APPROX),
    "bilevel-train": ({**TINY, **TRAIN}, {}),
    "classic": ({**TINY, **TRAIN}, JOINT),
    "ridge": ({**TINY, **RIDGE}, EXACT),
    "ridge by steps": ({**TINY, **RIDGE}, {"dynamics": {**GD, "learn_rate": True}}),
    "prototypes": ({**TINY, **PROTOTYPES}, EXACT),
    "multiclass": (TRANSFER, EXACT),
}


class Ran:
    """One run of a variant with its curves, result and checkpoints."""

    def __init__(self, spec: Experiment, data_dir: Path, resumed: Any = None) -> None:
        recorder, self.checkpoints = MemoryRecorder(), MemoryCheckpoints()
        if resumed:
            self.checkpoints.save(resumed)
        knobs: dict[str, Any] = {"recorder": recorder, "checkpoints": self.checkpoints, "checkpoint_seconds": 0.0}
        done = run(spec, device="cpu", data_dir=data_dir, **knobs)
        assert isinstance(done, Finished)
        varying = ("timing", "memory", "environment")
        self.result = {name: value for name, value in done.result.items() if name not in varying}
        self.files = {name: content for name, (_, content) in done.artifacts.items()}
        self.curves = {name: curve for name, curve in recorder.curves.items() if name != "seconds"}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_runs_and_resumes_to_the_bit(name: str, synthetic_omniglot: Path) -> None:
    problem, algorithm = VARIANTS[name]
    spec = Experiment.model_validate(
        {
            "problem": problem,
            "algorithm": {"steps": 2, "hyperiterations": 5, **algorithm},
            "evaluation": {"every": 2, "episodes": 4},
        }
    )
    whole = Ran(spec, synthetic_omniglot)
    assert list(whole.curves["outer_objective"]) == list(range(5))
    # Heads of `joint` start from 0 at every second hyperiteration, where the representation has no gradient.
    assert len(set(whole.curves["hypergradient_norm"].values())) == (3 if name == "classic" else 5)
    for checkpoint in whole.checkpoints.saved:
        rest = Ran(spec, synthetic_omniglot, checkpoint)
        since = checkpoint.hyperiteration
        kept = {key: {k: v for k, v in curve.items() if k >= since} for key, curve in whole.curves.items()}
        assert rest.curves == {key: curve for key, curve in kept.items() if curve}
        assert rest.result == whole.result
        assert rest.files == whole.files
