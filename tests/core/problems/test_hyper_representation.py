from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.bilevel import trees
from core.bilevel.problem import Hypergradient, Tree
from core.build import Built, build, make_context
from core.inner import build_inner
from core.methods import build_method
from core.problems.hyper_representation import network
from core.spec import Experiment
from core.spec.shortcuts import walks_in_dual
from tests.core.problems.conftest import SMALL

TINY_MLP: dict[str, Any] = {**SMALL, "model": {"kind": "mlp", "hidden": [2]}, "meta_batch": 1}
GD = {"kind": "gradient_descent", "rate": 0.1}
LEARNED = {**GD, "learn_rate": True}


def close(one: Hypergradient, other: Hypergradient, tolerance: float = 1e-9) -> None:
    difference = trees.subtract(one.grad, other.grad)
    assert trees.norm(difference) <= tolerance * trees.norm(other.grad)
    torch.testing.assert_close(one.outer_loss, other.outer_loss, rtol=tolerance, atol=0)
    for name, value in other.diagnostics.items():
        torch.testing.assert_close(one.diagnostics[name], value, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("dynamics", [GD, LEARNED])
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_the_dual_walk_is_the_plain_formulation(
    hypergradient: Callable[..., Hypergradient], synthetic_omniglot: Path, dynamics: dict[str, Any], l2: float
) -> None:
    problem = {**SMALL, "l2": l2}
    algorithm = {"steps": 5, "dynamics": dynamics}
    assert walks_in_dual(Experiment.model_validate({"problem": problem, "algorithm": algorithm}))
    dual = hypergradient(problem, algorithm, data_dir=synthetic_omniglot)
    for method in ({"kind": "reverse", "segment": 2}, {"kind": "reverse", "truncate": 5}, {"kind": "unrolled"}):
        plain = hypergradient(problem, {**algorithm, "hypergradient": method}, data_dir=synthetic_omniglot)
        close(dual, plain)


@pytest.mark.parametrize(
    "model",
    [
        {"kind": "conv4", "filters": 2, "downsample": "max_pool"},
        {"kind": "residual", "blocks": [2], "hidden": 3, "features": 2},
    ],
)
def test_forward_mode_goes_through_max_pools(
    hypergradient: Callable[..., Hypergradient], synthetic_omniglot: Path, model: dict[str, Any]
) -> None:
    problem, algorithm = {**SMALL, "model": model}, {"steps": 3, "dynamics": LEARNED}
    reverse = hypergradient(problem, algorithm, data_dir=synthetic_omniglot)
    knobs: list[dict[str, Any]] = [{"kind": "forward"}, {"kind": "forward", "chunk": 50}]
    for method in knobs:
        close(hypergradient(problem, {**algorithm, "hypergradient": method}, data_dir=synthetic_omniglot), reverse)
    sampled = {"kind": "random_forward", "directions": 2}
    found = hypergradient(problem, {**algorithm, "hypergradient": sampled}, data_dir=synthetic_omniglot)
    torch.testing.assert_close(found.outer_loss, reverse.outer_loss)


@pytest.mark.parametrize("method", [{"kind": "reverse"}, {"kind": "reverse", "segment": 2}, {"kind": "unrolled"}])
@pytest.mark.parametrize("chunk", [1, 2])
def test_a_meta_batch_in_chunks_is_the_whole_meta_batch(
    hypergradient: Callable[..., Hypergradient], synthetic_omniglot: Path, method: dict[str, Any], chunk: int
) -> None:
    problem, algorithm = {**SMALL, "meta_batch": 3}, {"steps": 3, "dynamics": LEARNED, "hypergradient": method}
    whole = hypergradient(problem, algorithm, data_dir=synthetic_omniglot)
    chunked = hypergradient({**problem, "task_chunk": chunk}, algorithm, data_dir=synthetic_omniglot)
    close(chunked, whole)
    assert chunked.diagnostics.keys() == whole.diagnostics.keys()
    torch.testing.assert_close(chunked.state, whole.state, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 2])
def test_bits_kept_are_a_mean_in_chunks_too(
    hypergradient: Callable[..., Hypergradient], synthetic_omniglot: Path, chunk: int
) -> None:
    heavy_ball = {"kind": "heavy_ball", "rate": 0.1, "momentum": 0.9}
    algorithm = {"steps": 40, "dynamics": heavy_ball, "hypergradient": {"kind": "reversible"}}
    problem = {**SMALL, "meta_batch": 3}
    whole = hypergradient(problem, algorithm, data_dir=synthetic_omniglot).diagnostics["buffer_bits"]
    chunked = hypergradient({**problem, "task_chunk": chunk}, algorithm, data_dir=synthetic_omniglot).diagnostics
    assert 0 < float(whole) < 0.5
    assert float(chunked["buffer_bits"]) == pytest.approx(float(whole), rel=0.3)  # buffers are in whole words


def test_an_evaluation_in_chunks_is_the_same(built: Callable[..., Built], synthetic_omniglot: Path) -> None:
    def losses(**chunk: int) -> list[float]:
        knobs: dict[str, Any] = {"data_dir": synthetic_omniglot, "evaluation": {"episodes": 7}}
        instance = built({**SMALL, **chunk}, {"steps": 2}, **knobs).instance
        return [scores["loss"].mean for scores in instance.evaluate(instance.initial)]

    assert losses(task_chunk=2) == pytest.approx(losses(), rel=1e-12)


@pytest.mark.parametrize("representation", [{"kind": "conv4", "filters": 16}, {"kind": "mlp", "hidden": [32]}])
@pytest.mark.parametrize(("precision", "bound"), [("float32", 1e-4), ("bf16", 0.1)])
def test_shorter_formats_are_near_float64(
    synthetic_omniglot: Path, representation: dict[str, Any], precision: str, bound: float
) -> None:
    """Relative error of the hypergradient of the representation, heads and walk being in float32 at least."""
    problem = {**SMALL, "model": representation, "query": 8}

    def found(precision: str) -> tuple[Hypergradient, Any]:
        spec = Experiment.model_validate(
            {
                "problem": problem,
                "algorithm": {"steps": 5, "dynamics": {"kind": "gradient_descent", "rate": 0.02}},
                "resources": {"precision": precision},
            }
        )
        instance = build(spec, device="cpu", data_dir=synthetic_omniglot).instance
        context = make_context(spec, device="cpu", data_dir=synthetic_omniglot)
        method = build_method(spec, build_inner(spec.algorithm), context).at(0, ())
        return method(*instance.at(0), instance.initial, steps=5), instance.initial

    exact, _ = found("float64")
    short, initial = found(precision)
    assert {leaf.dtype for leaf in trees.leaves((initial, short.grad, short.state))} == {torch.float32}
    error = trees.norm(trees.map_leaves(lambda x, y: x.double() - y, short.grad, exact.grad))
    assert 0 < error <= bound * trees.norm(exact.grad)
    assert float(short.outer_loss) == pytest.approx(float(exact.outer_loss), rel=bound / 10)


def test_bf16_learns_as_float32_does(synthetic_omniglot: Path) -> None:
    problem = {**SMALL, "model": {"kind": "conv4", "filters": 8}, "shot": 1, "meta_batch": 4}
    algorithm = {"steps": 4, "dynamics": {**GD, "rate": 0.05}, "optimizer": {"kind": "adam", "rate": 0.003}}

    def accuracy(precision: str) -> Any:
        spec = {"problem": problem, "algorithm": algorithm, "resources": {"precision": precision}}
        found = build(
            Experiment.model_validate({**spec, "evaluation": {"episodes": 60}}),
            device="cpu",
            data_dir=synthetic_omniglot,
        )
        state = found.algorithm.init(found.instance.initial)
        for k in range(8):
            state, _ = found.algorithm.step(k, state)
        return found.instance.evaluate(state.lam).test["accuracy"]

    short, single = accuracy("bf16"), accuracy("float32")
    assert abs(short.mean - single.mean) <= short.ci95 + single.ci95


@pytest.mark.parametrize(
    ("dynamics", "method", "dual"),
    [
        (GD, {"kind": "reverse"}, True),
        (LEARNED, {"kind": "reverse"}, True),
        (GD, {"kind": "reverse", "segment": 2}, False),
        (GD, {"kind": "reverse", "truncate": 2}, False),
        (GD, {"kind": "unrolled"}, False),
        ({"kind": "heavy_ball"}, {"kind": "reverse"}, False),
        ({"kind": "adam"}, {"kind": "reverse"}, False),
    ],
)
def test_where_the_dual_walk_applies(dynamics: dict[str, Any], method: dict[str, Any], dual: bool) -> None:
    algorithm = {"dynamics": dynamics, "hypergradient": method}
    assert walks_in_dual(Experiment.model_validate({"problem": SMALL, "algorithm": algorithm})) is dual


@pytest.mark.parametrize(
    "dynamics", [LEARNED, {"kind": "heavy_ball", "rate": 0.1, "momentum": 0.5, "learn_momentum": True}]
)
@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"cross_fitting": True},
        {"centred": True},
        {"centred": True, "cross_fitting": True},
        {"centred": True, "way_from": 2, "way": 4, "meta_batch": 5},
    ],
    ids=str,
)
def test_hypergradients_are_finite_differences(
    built: Callable[..., Built],
    hypergradient: Callable[..., Hypergradient],
    slope: Callable[..., float],
    direction: Callable[[Tree], Tree],
    synthetic_omniglot: Path,
    dynamics: dict[str, Any],
    extra: dict[str, Any],
) -> None:
    problem = {**SMALL, "model": {"kind": "mlp", "hidden": [6, 5]}, **extra}  # smooth; ReLU has kinks
    algorithm = {"steps": 4, "dynamics": dynamics}
    instance = built(problem, algorithm, data_dir=synthetic_omniglot).instance
    along = direction(instance.initial)
    expected = slope(*instance.at(0), instance.initial, along, 4)
    grad = hypergradient(problem, algorithm, data_dir=synthetic_omniglot).grad
    assert float(trees.dot(grad, along)) == pytest.approx(expected, rel=1e-5)


def test_forward_mode_is_stated_in_lam(hypergradient: Callable[..., Hypergradient], synthetic_omniglot: Path) -> None:
    algorithm = {"steps": 2, "dynamics": LEARNED}
    reverse = hypergradient(TINY_MLP, algorithm, data_dir=synthetic_omniglot)
    forward = hypergradient(TINY_MLP, {**algorithm, "hypergradient": {"kind": "forward"}}, data_dir=synthetic_omniglot)
    close(forward, reverse)


def test_implicit_differentiation_of_regularized_heads(
    hypergradient: Callable[..., Hypergradient], synthetic_omniglot: Path
) -> None:
    problem, many = {**SMALL, "l2": 1.0}, {"steps": 600, "dynamics": GD}
    reverse = hypergradient(problem, many, data_dir=synthetic_omniglot)
    for solver in ({"kind": "cg", "tolerance": 1e-12}, {"kind": "dense"}):
        method = {"kind": "implicit", "solver": solver}
        implicit = hypergradient(problem, {**many, "hypergradient": method}, data_dir=synthetic_omniglot)
        assert trees.norm(trees.subtract(implicit.grad, reverse.grad)) < 1e-6 * trees.norm(reverse.grad)
        assert implicit.diagnostics["solver_residual"] < 1e-9


def test_episodes_are_a_function_of_seed_and_hyperiteration(
    built: Callable[..., Built], synthetic_omniglot: Path
) -> None:
    def features(k: int, seed: int) -> Any:
        instance = built(SMALL, data_dir=synthetic_omniglot, seed=seed).instance
        embed = instance.at(k)[0].embed
        assert embed is not None
        z = embed(instance.initial)
        assert isinstance(z, dict)
        return z["query"]

    assert torch.equal(features(3, 0), features(3, 0))
    assert not torch.allclose(features(3, 0), features(4, 0))
    assert not torch.allclose(features(3, 0), features(3, 1))
    assert features(0, 0).shape == (2, 3 * 4, 12)


@pytest.mark.parametrize("normalization", ["batch", "running"])
def test_both_kinds_of_statistics_are_reported(
    built: Callable[..., Built], synthetic_omniglot: Path, normalization: str
) -> None:
    problem = {**SMALL, "normalization": normalization}
    instance = built(problem, {"steps": 3}, data_dir=synthetic_omniglot, evaluation={"episodes": 40}).instance
    found = instance.evaluate(instance.initial)
    for scores in found:
        assert scores["accuracy"] == scores[f"accuracy_{normalization}_statistics"]
        assert scores["accuracy_batch_statistics"] != scores["accuracy_running_statistics"]
        assert scores["accuracy"].plain().keys() == {"mean", "ci95", "episodes"}
        assert scores["accuracy"].size == 40
        assert 1 / 3 < scores["accuracy"].mean <= 1
    assert found.validation != found.test
    assert instance.evaluate(instance.initial) == found


def test_a_network_without_norms_has_one_kind_of_accuracy(
    built: Callable[..., Built], synthetic_omniglot: Path
) -> None:
    problem = {**TINY_MLP, "normalization": "running"}
    instance = built(problem, data_dir=synthetic_omniglot, evaluation={"episodes": 3}).instance
    scores = instance.evaluate(instance.initial).test
    assert scores["accuracy"] == scores["accuracy_batch_statistics"] == scores["accuracy_running_statistics"]


def test_evaluation_fits_heads_by_the_inner_dynamics(built: Callable[..., Built], synthetic_omniglot: Path) -> None:
    def losses(steps: int, dynamics: dict[str, Any]) -> float:
        algorithm = {"steps": steps, "dynamics": dynamics}
        instance = built(SMALL, algorithm, data_dir=synthetic_omniglot, evaluation={"episodes": 10}).instance
        return instance.evaluate(instance.initial).test["loss"].mean

    start = torch.tensor(3.0).log().item()  # the uniform prediction of w_0 = 0
    assert losses(1, {**GD, "rate": 1e-9}) == pytest.approx(start, abs=1e-6)
    assert losses(1, GD) < start
    assert losses(5, GD) == pytest.approx(losses(5, LEARNED), rel=1e-9)
    assert losses(5, GD) != pytest.approx(losses(5, {"kind": "adam", "rate": 0.1}), rel=1e-3)


def test_learning_improves_unseen_classes(built: Callable[..., Built], synthetic_omniglot: Path) -> None:
    problem = {**SMALL, "model": {"kind": "conv4", "filters": 8}, "shot": 1, "meta_batch": 4}
    algorithm = {"steps": 4, "dynamics": {**GD, "rate": 0.05}, "optimizer": {"kind": "adam", "rate": 0.003}}
    found = built(problem, algorithm, data_dir=synthetic_omniglot, evaluation={"episodes": 60})
    state = found.algorithm.init(found.instance.initial)
    before = found.instance.evaluate(state.lam).test
    for k in range(25):
        state, series = found.algorithm.step(k, state)
    after = found.instance.evaluate(state.lam).test
    assert after["loss"].mean < before["loss"].mean - 3 * before["loss"].ci95
    assert series.keys() >= {"outer_objective", "hypergradient_norm", "inner_objective_start", "inner_gradient_norm"}
    assert trees.norm(trees.subtract(network(state.lam), network(found.instance.initial))) > 0


def test_a_fixed_number_of_tasks_is_drawn_once(built: Callable[..., Built], synthetic_omniglot: Path) -> None:
    """With as many as a meta-batch has, every meta-batch is of the same tasks in another order."""
    instance = built({**SMALL, "meta_batch": 3, "tasks": 3}, {}, data_dir=synthetic_omniglot).instance
    seen = []
    for k in (0, 1, 2, 0):
        tasks = instance.at(k)[0].tasks
        assert tasks is not None
        assert isinstance(tasks.data, dict)
        support = tasks.data["support"]
        assert isinstance(support, torch.Tensor)
        seen.append(support)
    assert torch.equal(seen[0], seen[3])
    sums = [support.flatten(1).sum(1) for support in seen]
    assert all(torch.equal(each.sort().values, sums[0].sort().values) for each in sums)
    assert not torch.equal(seen[0], seen[1]) or not torch.equal(seen[0], seen[2])
    assert len(sums[0].unique()) == 3


def test_meta_batches_of_many_tasks_are_without_replacement(
    built: Callable[..., Built], synthetic_omniglot: Path
) -> None:
    instance = built({**SMALL, "meta_batch": 4, "tasks": 5}, {}, data_dir=synthetic_omniglot).instance
    sums = set()
    for k in range(12):
        tasks = instance.at(k)[0].tasks
        assert tasks is not None
        assert isinstance(tasks.data, dict)
        support = tasks.data["support"]
        assert isinstance(support, torch.Tensor)
        own = support.flatten(1).sum(1).tolist()
        assert len(set(own)) == 4
        sums |= set(own)
    assert len(sums) == 5


def test_more_episodes_than_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match="raise `tasks` or lower `meta_batch`"):
        Experiment.model_validate({"problem": {"kind": "hyper_representation", "meta_batch": 8, "tasks": 4}})
