"""K folds as one stacked problem: f is the mean of K separate problems, and so is its hypergradient."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from core.bilevel import trees
from core.bilevel.dynamics import full_batch, gradient_descent
from core.bilevel.hypergradients import unrolled
from core.bilevel.problem import Hypergradient, Problem, Tree
from core.build import Built, build_model, make_context
from core.checkpointing import MemoryCheckpoints
from core.datasets.splits import Examples
from core.problems import tables
from core.problems.cross_validation import fold
from core.problems.regularization import loss_of, penalty, start_of, strength_of
from core.recording import MemoryRecorder
from core.run import Finished, run
from core.spec import KINDS, Experiment, kind_of
from core.spec.problems import Regularization
from core.spec.sizes import inner_variables

RIDGE: dict[str, Any] = {"kind": "regularization", "train": 20, "validation": 11, "folds": 4, "initial_strength": 0.5}
SOFTMAX = {**RIDGE, "dataset": {"kind": "wine"}}
CASES: dict[str, dict[str, Any]] = {
    "ridge": {**RIDGE, "strength": "feature"},
    "softmax": {**SOFTMAX, "strength": "class"},
    "logistic": {**RIDGE, "dataset": {"kind": "breast_cancer"}, "loss": "logistic"},
    "mlp": {**SOFTMAX, "model": {"kind": "mlp", "hidden": [3]}, "strength": "layer"},
}
GD = {"kind": "gradient_descent", "rate": 0.1}


def separate(problem: dict[str, Any], lam: Tree, steps: int, data_dir: Path) -> tuple[Tree, torch.Tensor]:
    """Hypergradient and objective as means over K problems, one after the other, each on the examples it has."""
    spec = Experiment.model_validate({"problem": problem, "resources": {"precision": "float64"}})
    stated = spec.problem
    assert isinstance(stated, Regularization)
    context = make_context(spec, device="cpu", data_dir=data_dir)
    data = tables.load_pool(stated, context)
    numbers = fold(data.pool, 4, spec.seed).number()
    outputs = 1 if stated.loss == "logistic" else max(stated.dataset.classes, 1)
    model = build_model(stated.model, stated.dataset.features, outputs, torch.float64)
    start, loss = start_of(stated, model, spec.seed), loss_of(stated)

    def one(k: int) -> Hypergradient:
        train, held_out = (Examples(data.pool.x[rows], data.pool.y[rows]) for rows in (numbers != k, numbers == k))

        def inner(w: Tree, lam: Tree) -> torch.Tensor:
            fit = loss(model.apply(w, train.x), train.y).mean()
            return fit + penalty(w, strength_of(lam), by_class=stated.strength == "class")

        def outer(w: Tree, lam: Tree) -> torch.Tensor:
            return loss(model.apply(w, held_out.x), held_out.y).mean()

        problem = Problem(inner, outer, lambda lam: start)
        return unrolled(problem, gradient_descent(full_batch(inner), problem.init, rate=0.1), lam, steps=steps)

    found = [one(k) for k in range(4)]
    grad: Tree = found[0].grad
    for other in found[1:]:
        grad = trees.add(grad, other.grad)
    return trees.scale(1 / 4, grad), torch.stack([each.outer_loss for each in found]).mean()


@pytest.mark.parametrize("name", CASES)
def test_the_stacked_problem_is_the_mean_of_separate_ones(
    built: Callable[..., Built], hypergradient: Callable[..., Hypergradient], tmp_path: Path, name: str
) -> None:
    problem, algorithm = CASES[name], {"steps": 6, "dynamics": GD}
    lam = built(problem, algorithm).instance.initial
    grad, value = separate(problem, lam, 6, tmp_path)
    assert trees.norm(grad) > 0
    methods = [{"kind": kind} for kind in ("unrolled", "reverse", "forward")]
    for method in [*methods, {"kind": "reverse", "segment": 2}, {"kind": "reverse", "snapshots": 2}]:
        found = hypergradient(problem, {**algorithm, "hypergradient": method})
        torch.testing.assert_close(found.grad, grad, rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(found.outer_loss, value, rtol=1e-12, atol=0)


def test_the_closed_form_is_the_limit_and_stationary(
    built: Callable[..., Built], hypergradient: Callable[..., Hypergradient], tmp_path: Path
) -> None:
    problem = CASES["ridge"]
    found = hypergradient(problem, {"hypergradient": {"kind": "exact"}})
    assert found.diagnostics["inner_gradient_norm"] < 1e-12
    grad, value = separate(problem, built(problem).instance.initial, 600, tmp_path)
    torch.testing.assert_close(found.grad, grad, rtol=1e-7, atol=1e-12)
    torch.testing.assert_close(found.outer_loss, value, rtol=1e-8, atol=0)
    for solver in ("cg", "cg_normal", "dense", "neumann", "fixed_point"):
        knobs = {} if solver == "dense" else {"iterations": 600}
        algorithm = {
            "steps": 600,
            "dynamics": GD,
            "hypergradient": {"kind": "implicit", "solver": {"kind": solver, **knobs}},
        }
        implicit = hypergradient(problem, algorithm)
        torch.testing.assert_close(implicit.grad, grad, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(
    "dynamics", [kind_of(member) for member in KINDS["dynamics"] if kind_of(member) != "line_search"]
)
def test_methods_agree_whatever_the_dynamics(hypergradient: Callable[..., Hypergradient], dynamics: str) -> None:
    chosen: dict[str, Any] = {"kind": dynamics, "rate": 0.05}
    if dynamics in ("adam", "adamw", "rmsprop"):
        chosen["epsilon"] = 1e-2
    methods = ["reverse", "forward", *(["reversible"] if dynamics == "heavy_ball" else [])]
    expected = hypergradient(CASES["mlp"], {"steps": 5, "dynamics": chosen, "hypergradient": {"kind": "unrolled"}})
    for method in methods:
        found = hypergradient(CASES["mlp"], {"steps": 5, "dynamics": chosen, "hypergradient": {"kind": method}})
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-8, atol=1e-11)


def test_every_example_is_held_out_once_and_folds_differ_by_one_at_most() -> None:
    folds = fold(Examples(torch.zeros(31, 2), torch.zeros(31)), 4, 3)
    assert folds.held_out.sum(0).tolist() == [1] * 31
    assert sorted(folds.held_out.sum(1).tolist()) == [7, 8, 8, 8]
    assert torch.equal(folds.held_out[folds.number(), torch.arange(31)], torch.ones(31, dtype=torch.bool))
    for shares in (folds.train_shares(), folds.validation_shares()):
        torch.testing.assert_close(shares.sum(1), torch.ones(4))
    assert torch.equal(folds.held_out, fold(Examples(torch.zeros(31, 2), torch.zeros(31)), 4, 3).held_out)


def test_the_pool_is_standardized_as_a_whole_and_test_examples_are_apart(tmp_path: Path) -> None:
    spec = Experiment.model_validate({"problem": RIDGE, "resources": {"precision": "float64"}})
    assert isinstance(spec.problem, Regularization)
    data = tables.load_pool(spec.problem, make_context(spec, device="cpu", data_dir=tmp_path))
    assert (len(data.pool.x), len(data.test.x)) == (31, 442 - 31)
    torch.testing.assert_close(data.pool.x.mean(0), torch.zeros(10, dtype=torch.float64))
    torch.testing.assert_close(data.pool.x.std(0, correction=0), torch.ones(10, dtype=torch.float64))


def test_validation_is_of_held_out_examples_and_the_test_model_sees_all(built: Callable[..., Built]) -> None:
    problem = {**RIDGE, "train": 20, "validation": 20}  # folds of the same size: the mean over examples is f
    algorithm = {"hypergradient": {"kind": "exact"}}
    instance = built(problem, algorithm).instance
    stated, _ = instance.at(0)
    assert stated.solution is not None
    f = stated.outer(stated.solution(instance.initial), instance.initial)
    scores = instance.evaluate(instance.initial)
    assert scores.validation["loss"].mean == pytest.approx(float(f), rel=1e-12)
    assert (scores.validation["loss"].size, scores.test["loss"].size) == (40, 402)
    spec = Experiment.model_validate({"problem": problem, "resources": {"precision": "float64"}})
    assert isinstance(spec.problem, Regularization)
    data = tables.load_pool(spec.problem, make_context(spec, device="cpu", data_dir=Path("none")))
    x, ridge = data.pool.x, 40 * 0.5 * torch.eye(10, dtype=torch.float64)
    centred, middle = x - x.mean(0), data.pool.y.mean()  # the offset is not penalized
    w = torch.linalg.solve(centred.T @ centred + ridge, centred.T @ (data.pool.y - middle))
    errors = (data.test.x - x.mean(0)) @ w + middle - data.test.y
    assert scores.test["loss"].mean == pytest.approx(float(errors.square().mean() / 2), rel=1e-10)
    many = built(problem, {"steps": 2000, "dynamics": GD}).instance.evaluate(instance.initial)
    assert many.test["loss"].mean == pytest.approx(scores.test["loss"].mean, rel=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_a_run_resumes_to_the_bit(tmp_path: Path, name: str) -> None:
    algorithm = {"steps": 3, "hyperiterations": 3, "dynamics": {**GD, "learn_rate": True}}
    spec = Experiment.model_validate({"problem": CASES[name], "algorithm": algorithm, "evaluation": {"every": 1}})
    kept = MemoryCheckpoints()

    def finish(checkpoints: MemoryCheckpoints) -> Finished:
        knobs: dict[str, Any] = {"recorder": MemoryRecorder(), "checkpoints": checkpoints, "checkpoint_seconds": 0.0}
        done = run(spec, device="cpu", data_dir=tmp_path, **knobs)
        assert isinstance(done, Finished)
        return done

    whole = finish(kept)
    for checkpoint in list(kept.saved):
        resumed = MemoryCheckpoints()
        resumed.save(checkpoint)
        rest = finish(resumed)
        assert (rest.artifacts, rest.result["final"]) == (whole.artifacts, whole.result["final"])


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_real_time_goes_on_with_all_folds(built: Callable[..., Built], mode: str) -> None:
    chosen = {"kind": "real_time", "interval": 3, "hyperiterations": 4, "hypergradient": {"kind": mode}, "dynamics": GD}
    instance, algorithm = built(CASES["softmax"], chosen)
    assert algorithm.inner is not None
    state, first = algorithm.step(0, algorithm.init(instance.initial))
    state, second = algorithm.step(1, state)
    assert float(second["inner_objective_start"]) == pytest.approx(float(first["inner_objective_end"]), rel=0.02)
    assert instance.evaluate(state.lam, algorithm.inner(state)).validation["loss"].size == 31


@pytest.mark.parametrize(
    ("problem", "algorithm", "pointer", "remedy"),
    [
        (RIDGE, {"kind": "saba"}, "/problem/folds", "use the algorithm `nested`"),
        (RIDGE, {"dynamics": {**GD, "batch": 5}}, "/algorithm/dynamics/batch", "leave `batch` or `folds` out"),
        ({**RIDGE, "folds": 32}, {}, "/problem/folds", "32 folds of 31 examples"),
        (
            RIDGE,
            {"hypergradient": {"kind": "implicit", "solver": {"kind": "cg", "mixed_precision": True}}},
            "/algorithm/hypergradient/solver/mixed_precision",
            "leave `mixed_precision` out",
        ),
        (
            {**SOFTMAX, "dataset": {"kind": "digits"}, "folds": 8, "loss": "squared"},
            {"hypergradient": {"kind": "implicit", "solver": {"kind": "dense"}}},
            "/algorithm/hypergradient/solver",
            "all 5200 inner variables",
        ),
    ],
)
def test_what_the_stacked_form_does_not_allow_is_refused(
    problem: dict[str, Any], algorithm: dict[str, Any], pointer: str, remedy: str
) -> None:
    with pytest.raises(ValidationError, match=remedy) as caught:
        Experiment.model_validate({"problem": problem, "algorithm": algorithm})
    assert caught.value.errors()[0]["ctx"]["pointer"] == pointer


def test_inner_variables_are_those_of_all_folds() -> None:
    whole, split = (
        inner_variables(Experiment.model_validate({"problem": {**RIDGE, "folds": folds}}).problem)
        for folds in (4, None)
    )
    assert (whole, split) == (44, 11)
