"""Every member of every union becomes functions; the matrix is built from the unions themselves."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core.bilevel import trees
from core.build import build, build_algorithm, build_instance, make_context
from core.inner import build_inner
from core.methods import build_method
from core.spec import KINDS, Experiment, kind_of
from core.spec.base import Spec

SMALL: dict[str, dict[str, Any]] = {
    "quadratic": {"inner_dimension": 4, "outer_dimension": 2},
    "regularization": {"train": 30, "validation": 20},
    "hyper_cleaning": {"train": 30, "validation": 20, "final_steps": 5, "l2": 0.1},
    "hyper_representation": {"model": {"kind": "mlp", "hidden": [3]}, "query": 2, "meta_batch": 2, "l2": 0.1},
    "multiclass_transfer": {"model": {"kind": "mlp", "hidden": [3]}, "query": 2, "batch": 6},
    "initialization": {"model": {"kind": "mlp", "hidden": [3]}, "query": 2, "meta_batch": 2, "proximal": 1},
    "linear_representation": {"features": {"kind": "pixels", "size": 6}, "classes": 4, "test": 2},
    "learned_optimizer": {"optimizer": {"kind": "lstm", "hidden": 2}, "meta_batch": 2},
    "learned_data": {"dataset": {"kind": "wine"}, "l2": 0.1, "draws": 2, "final_steps": 5},
}


def spec(kind: str, algorithm: dict[str, Any], **rest: Any) -> Experiment:
    problem = {"kind": kind, **SMALL.get(kind, {})}
    return Experiment.model_validate({"problem": problem, "algorithm": algorithm, **rest})


def kinds(section: str) -> list[str]:
    return [kind_of(member) for member in KINDS[section]]


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("problem", kinds("problem"))
@pytest.mark.parametrize("dynamics", kinds("dynamics"))
def test_every_problem_runs_under_every_dynamics(
    problem: str, dynamics: str, precision: str, synthetic_omniglot: Path
) -> None:
    if problem == "learned_optimizer" and dynamics != "gradient_descent":
        pytest.skip("refused: its inner steps are its own")
    own = {} if problem == "learned_optimizer" else {"dynamics": {"kind": dynamics, "rate": 0.05}}
    method = "implicit" if dynamics == "line_search" else "reverse"  # the search cannot be differentiated
    if problem == "multiclass_transfer":
        method = "exact"  # there is nothing to differentiate
    experiment = spec(
        problem,
        {"steps": 2, "hypergradient": {"kind": method}, **own},
        resources={"precision": precision},
        evaluation={"episodes": 2},
    )
    instance, algorithm = build(experiment, device="cpu", data_dir=synthetic_omniglot)
    state, series = algorithm.step(0, algorithm.init(instance.initial))
    dtype = getattr(torch, precision)
    assert {leaf.dtype for leaf in trees.leaves(state)} == {dtype}
    assert series["outer_objective"].dtype == dtype
    assert trees.norm(state.lam).isfinite()
    assert trees.norm(trees.subtract(state.lam, instance.initial)) > 0
    for metrics in instance.evaluate(state.lam):
        assert math.isfinite(metrics["loss"].mean)
    assert instance.selection.metric in instance.evaluate(state.lam).validation


@pytest.mark.parametrize("method", kinds("hypergradient"))
@pytest.mark.parametrize("problem", kinds("problem"))
def test_every_method_runs_on_every_problem_that_it_is_allowed_on(
    problem: str, method: str, synthetic_omniglot: Path
) -> None:
    if method in ("exact", "implicit", "reversible", "first_order") and problem == "learned_optimizer":
        pytest.skip("refused: its steps are those of a network")
    if method == "first_order" and problem in ("regularization", "hyper_cleaning", "learned_data"):
        pytest.skip("refused: there is no direct term")
    if method == "exact" and problem in ("hyper_cleaning", "hyper_representation", "initialization", "learned_data"):
        pytest.skip("refused: no closed form")
    if method in ("implicit", "random_forward", "reversible") and problem == "multiclass_transfer":
        pytest.skip("refused: no inner variables")
    if method == "reptile" and problem != "initialization":
        pytest.skip("refused: nothing to move towards w_T")
    if method == "forward" and problem in ("hyper_representation", "multiclass_transfer", "initialization"):
        pytest.skip("refused: too many outer variables; tests/core/problems has a smaller one")
    dynamics = {"kind": "heavy_ball" if method == "reversible" else "gradient_descent"}
    experiment = spec(problem, {"steps": 3, "dynamics": dynamics, "hypergradient": {"kind": method}})
    instance, algorithm = build(experiment, device="cpu", data_dir=synthetic_omniglot)
    state, series = algorithm.step(0, algorithm.init(instance.initial))
    assert trees.norm(state.lam).isfinite()
    assert series.keys() >= {"outer_objective", "hypergradient_norm", "inner_objective_end"}


@pytest.mark.parametrize("solver", kinds("solver"))
def test_every_solver_tends_to_the_closed_form(solver: str, tmp_path: Path) -> None:
    if solver == "stochastic":
        pytest.skip("refused: no minibatches; tests/core/test_implicit.py has a problem with them")

    def grad(method: dict[str, Any]) -> Any:
        dynamics = {"kind": "gradient_descent", "rate": 1.0}
        algorithm = {"steps": 500, "dynamics": dynamics, "hypergradient": method}
        experiment = spec("quadratic", algorithm, resources={"precision": "float64"})
        context = make_context(experiment, device="cpu", data_dir=tmp_path)
        instance = build(experiment, device="cpu", data_dir=tmp_path).instance
        found = build_method(experiment, build_inner(experiment.algorithm), context).at(0, ())
        return found(*instance.at(0), instance.initial, steps=500).grad["lam"]  # type: ignore[call-overload,index]

    knobs = {"cg": {"tolerance": 1e-12}, "neumann": {"iterations": 500}, "dense": {}}
    chosen = {"kind": solver, **knobs.get(solver, {"iterations": 500, "tolerance": 1e-12})}
    found = grad({"kind": "implicit", "solver": chosen})
    torch.testing.assert_close(found, grad({"kind": "exact"}), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("optimizer", kinds("optimizer"))
def test_every_optimizer_descends_and_decays(optimizer: str, tmp_path: Path) -> None:
    def moved(k: int, decay: float) -> float:
        chosen = {"kind": optimizer, "rate": 1e-3, "decay": decay}
        instance, algorithm = build(
            spec("quadratic", {"steps": 20, "optimizer": chosen}), device="cpu", data_dir=tmp_path
        )
        start = algorithm.init(instance.initial)
        state, _ = algorithm.step(k, start)
        before, after = (instance.evaluate(lam).validation["loss"].mean for lam in (start.lam, state.lam))
        assert after < before
        return float(trees.norm(trees.subtract(state.lam, start.lam)))

    assert moved(4, 0.5) == pytest.approx(moved(4, 0.0) / 3, rel=1e-3)


@pytest.mark.parametrize("member", KINDS["model"])
def test_every_model_serves_where_it_is_allowed(member: type[Spec], synthetic_omniglot: Path) -> None:
    model = {"kind": kind_of(member)}
    problem = "hyper_representation" if model["kind"] in ("conv4", "residual") else "regularization"
    described = {"kind": problem, **SMALL[problem], "model": model}
    experiment = Experiment.model_validate({"problem": described, "algorithm": {"steps": 1}})
    instance, algorithm = build(experiment, device="cpu", data_dir=synthetic_omniglot)
    assert trees.norm(algorithm.step(0, algorithm.init(instance.initial))[0].lam).isfinite()


@pytest.mark.parametrize("weights", kinds("weights"))
def test_both_weightings_are_built(weights: str, tmp_path: Path) -> None:
    problem = {"kind": "hyper_cleaning", **SMALL["hyper_cleaning"], "weights": {"kind": weights}}
    experiment = Experiment.model_validate({"problem": problem, "algorithm": {"steps": 1}})
    instance, _ = build(experiment, device="cpu", data_dir=tmp_path)
    assert instance.artifacts(instance.initial)["examples"]["weights"].tolist() == [0.5] * 30


def test_learned_numbers_start_where_the_spec_says(tmp_path: Path) -> None:
    dynamics = {"kind": "nesterov", "rate": 0.25, "momentum": 0.7, "learn_rate": True, "learn_momentum": True}
    instance, algorithm = build(spec("quadratic", {"dynamics": dynamics}), device="cpu", data_dir=tmp_path)
    assert {"log_rate", "logit_momentum"} < instance.initial.keys()  # type: ignore[union-attr]
    natural = instance.natural(instance.initial)
    assert float(natural["rate"]) == pytest.approx(0.25)
    assert float(natural["momentum"]) == pytest.approx(0.7)
    state, _ = algorithm.step(0, algorithm.init(instance.initial))
    assert float(instance.natural(state.lam)["rate"]) != pytest.approx(0.25, rel=1e-6)


@pytest.mark.parametrize("problem", kinds("problem"))
@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_real_time_goes_on_where_it_was(problem: str, mode: str, synthetic_omniglot: Path) -> None:
    if problem in ("hyper_representation", "multiclass_transfer", "initialization", "learned_optimizer"):
        pytest.skip("refused: new tasks at every hyperiteration, or no inner variables")
    chosen = {"kind": "real_time", "interval": 3, "hyperiterations": 4, "hypergradient": {"kind": mode}}
    dynamics = {"kind": "heavy_ball", "rate": 0.05, "learn_rate": True, "learn_momentum": True}
    experiment = spec(problem, {**chosen, "dynamics": dynamics})
    instance, algorithm = build(experiment, device="cpu", data_dir=synthetic_omniglot)
    assert algorithm.inner is not None
    state, first = algorithm.step(0, algorithm.init(instance.initial))
    state, second = algorithm.step(1, state)
    assert trees.norm(state).isfinite()
    assert second["inner_objective_start"] == pytest.approx(float(first["inner_objective_end"]), rel=0.02)
    evaluated = instance.evaluate(state.lam).validation["loss"].mean
    assert math.isfinite(evaluated)


@pytest.mark.parametrize("schedules", [False, True])
def test_reversible_is_reverse_with_the_learned_numbers(schedules: bool, tmp_path: Path) -> None:
    def grad(method: dict[str, Any]) -> Any:
        dynamics = {"kind": "heavy_ball", "rate": 0.3, "momentum": 0.7, "learn_rate": True, "learn_momentum": True}
        dynamics |= {"rate_per_step": schedules, "momentum_per_step": schedules}
        algorithm = {"steps": 30, "dynamics": dynamics, "hypergradient": method}
        experiment = spec("quadratic", algorithm, resources={"precision": "float64"})
        context = make_context(experiment, device="cpu", data_dir=tmp_path)
        instance = build(experiment, device="cpu", data_dir=tmp_path).instance
        found = build_method(experiment, build_inner(experiment.algorithm), context).at(0, ())
        return found(*instance.at(0), instance.initial, steps=30).grad

    expected = grad({"kind": "reverse"})
    assert expected.keys() == {"lam", "log_rate", "logit_momentum"}
    assert expected["log_rate"].shape == expected["logit_momentum"].shape == ((30,) if schedules else ())
    for method in ({"kind": "reversible"}, {"kind": "reverse", "snapshots": 3}, {"kind": "reverse", "segment": "auto"}):
        torch.testing.assert_close(grad(method), expected, rtol=1e-9, atol=1e-10)


def turned(lam: Any) -> Any:
    return dict(reversed(lam.items()))


@pytest.mark.parametrize(
    "algorithm",
    [
        {"steps": 3, "averaging": 0.5},
        {"kind": "real_time", "interval": 2, "hypergradient": {"kind": "forward"}, "hyperiterations": 6},
        {"kind": "soba", "batch": 10},
    ],
)
def test_a_projection_may_return_the_outer_variables_in_another_order(
    algorithm: dict[str, Any], tmp_path: Path
) -> None:
    dynamics = (
        {}
        if algorithm.get("kind") == "soba"
        else {"dynamics": {"kind": "gradient_descent", "rate": 0.05, "learn_rate": True}}
    )
    experiment = spec("regularization", {**algorithm, **dynamics}, resources={"precision": "float64"})
    context = make_context(experiment, device="cpu", data_dir=tmp_path)
    inner = build_inner(experiment.algorithm)
    instance = build_instance(experiment.problem, inner, context)
    instance = replace(instance, initial={**instance.initial, "more": torch.ones(3, dtype=torch.float64)})  # type: ignore[dict-item]

    def after(project: Any) -> Any:
        plain = build_algorithm(experiment, replace(instance, project=project), inner, context)
        state = plain.init(instance.initial)
        for k in range(3):
            state, _ = plain.step(k, state)
        return (plain.outer or (lambda state: state.lam))(state)

    torch.testing.assert_close(after(turned), after(lambda lam: lam), rtol=0, atol=0)
