"""Diagnostics of a spec: they change nothing, warn in the events, and are in the result wherever it was interrupted."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from core.bilevel import trees
from core.bilevel.diagnostics import cosine
from core.bilevel.problem import AlgorithmState, Tree
from core.build import Built, build
from core.checkpointing import MemoryCheckpoints
from core.recording import MemoryRecorder
from core.run import Finished, run
from core.spec import KINDS, Experiment, kind_of
from core.spec.stochastic import Stochastic

ALL: dict[str, Any] = {
    "stationarity": {"every": 1},
    "truncation": {"every": 2},
    "comparison": {"every": 3},
    "contraction": {"every": 2, "products": 5},
    "direction": {"every": 1},
}
SERIES = {
    "inner_gradient_relative",
    "truncation_error",
    "comparison_cosine",
    "comparison_error",
    "contraction_factor",
    "contraction_error",
    "direction_cosine",
}
PROBLEMS: dict[str, dict[str, Any]] = {
    "quadratic": {"inner_dimension": 4, "outer_dimension": 2},
    "regularization": {"train": 30, "validation": 20, "strength": "feature"},
    "hyper_cleaning": {"train": 30, "validation": 20, "final_steps": 5, "l2": 0.1},
    "hyper_representation": {"model": {"kind": "conv4", "filters": 2}, "query": 2, "meta_batch": 2, "l2": 0.1},
}
METHODS: tuple[dict[str, Any], ...] = ({"kind": "reverse"}, {"kind": "implicit"})


def described(problem: str = "quadratic", diagnostics: dict[str, Any] | None = None, **algorithm: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "problem": {"kind": problem, **PROBLEMS[problem]},
            "algorithm": {"steps": 4, "hyperiterations": 5, "optimizer": {"kind": "adam", "rate": 0.1}, **algorithm},
            "evaluation": {"every": 5, "episodes": 2},
            "diagnostics": diagnostics or {},
        }
    )


@pytest.mark.parametrize("kind", ["hyper_representation", "initialization"])
def test_tasks_in_chunks_have_the_same_diagnostics(kind: str, synthetic_omniglot: Path) -> None:
    def found(chunk: int | None) -> Mapping[str, torch.Tensor]:
        model = {"kind": "conv4", "filters": 2}
        problem = {"kind": kind, "model": model, "query": 2, "meta_batch": 5, "task_chunk": chunk}
        algorithm = {
            "steps": 3,
            "dynamics": {"kind": "gradient_descent", "rate": 0.02, "learn_rate": True},
            "hyperiterations": 1,
        }
        described = {"problem": problem, "algorithm": algorithm, "diagnostics": ALL}
        spec = Experiment.model_validate({**described, "resources": {"precision": "float64"}})
        instance, algorithm = build(spec, device="cpu", data_dir=synthetic_omniglot)
        return algorithm.step(0, algorithm.init(instance.initial))[1]

    whole, parts = found(None), found(2)
    assert {"inner_gradient_relative", "comparison_error", "contraction_factor"} <= parts.keys() == whole.keys()
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: str(method["kind"]))
@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_outer_variables_are_the_same_to_the_bit(
    problem: str, method: dict[str, Any], synthetic_omniglot: Path
) -> None:
    def go(diagnostics: dict[str, Any]) -> tuple[list[AlgorithmState], set[str], dict[str, torch.Tensor]]:
        spec = described(problem, diagnostics, hypergradient=method)
        instance, algorithm = build(spec, device="cpu", data_dir=synthetic_omniglot)
        state, states, names = algorithm.init(instance.initial), [], set()
        for k in range(4):
            state, values = algorithm.step(k, state)
            states.append(state)
            names |= values.keys()
        return states, names, dict(values)

    off, names_off, last_off = go({})
    on, names_on, last_on = go(ALL)
    for before, after in zip(off, on, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(trees.leaves(before.lam), trees.leaves(after.lam), strict=True))
    assert names_on - names_off == SERIES
    assert all(torch.equal(last_off[name], last_on[name]) for name in names_off)


KEPT: dict[str, Any] = {name: {"every": 1} for name in ("stationarity", "contraction", "direction")}
"""Of real time."""
STOCHASTIC: dict[str, Any] = {
    "stationarity": {"every": 1},
    "comparison": {"every": 1, "against": {"kind": "implicit"}},
    "direction": {"every": 1},
}
ON_MINIBATCHES = [kind_of(member) for member in KINDS["algorithm"] if issubclass(member, Stochastic)]


def kept_on(algorithm: str, diagnostics: dict[str, Any], **knobs: Any) -> Experiment:
    """An algorithm that goes on from the inner variables of the last hyperiteration."""
    shape = {"interval": 4} if algorithm == "real_time" else {"batch": 10}
    return Experiment.model_validate(
        {
            "problem": {"kind": "regularization", **PROBLEMS["regularization"], "initial_strength": 0.5},
            "algorithm": {"kind": algorithm, "hyperiterations": 4, **shape, **knobs},
            "diagnostics": diagnostics,
            "resources": {"precision": "float64"},
        }
    )


def stepped(spec: Experiment, data_dir: Path) -> tuple[Built, list[AlgorithmState], list[Mapping[str, torch.Tensor]]]:
    """The states 0..4 and the values of the four hyperiterations between them."""
    built = build(spec, device="cpu", data_dir=data_dir)
    states, series = [built.algorithm.init(built.instance.initial)], []
    for k in range(4):
        state, values = built.algorithm.step(k, states[-1])
        states.append(state)
        series.append(values)
    return built, states, series


@pytest.mark.parametrize(
    ("algorithm", "knobs"),
    [
        ("real_time", {"hypergradient": {"kind": "forward"}}),
        ("real_time", {"hypergradient": {"kind": "reverse"}, "dynamics": {"kind": "heavy_ball"}}),
        *((kind, {}) for kind in ON_MINIBATCHES),
    ],
)
def test_algorithms_that_go_on_from_the_last_w_are_measured_and_stay_the_same(
    algorithm: str, knobs: dict[str, Any], tmp_path: Path
) -> None:
    asked = KEPT if algorithm == "real_time" else STOCHASTIC
    plain, off, without = stepped(kept_on(algorithm, {}, **knobs), tmp_path)
    built, on, values = stepped(kept_on(algorithm, asked, **knobs), tmp_path)
    assert built.algorithm.inner is not None
    assert plain.algorithm.inner is not None
    for before, after in zip(off, on, strict=True):
        pairs = (
            (before.lam, after.lam),
            (plain.algorithm.inner(before), built.algorithm.inner(after)),
        )
        assert all(torch.equal(a, b) for x, y in pairs for a, b in zip(trees.leaves(x), trees.leaves(y), strict=True))
    expected = {"inner_gradient_relative", "direction_cosine"}
    expected |= (
        {"contraction_factor", "contraction_error"}
        if algorithm == "real_time"
        else {"comparison_cosine", "comparison_error"}
    )
    for k in range(4):
        assert values[k].keys() - without[k].keys() == expected - ({"direction_cosine"} if k == 0 else set())


def norm_of_inner_gradient(built: Built, w: Tree, lam: Tree) -> float:
    problem, _ = built.instance.at(0)
    return float(trees.norm(torch.func.grad(problem.inner)(w, lam)))


def test_stationarity_in_real_time_is_against_the_start_of_the_run(tmp_path: Path) -> None:
    built, states, values = stepped(kept_on("real_time", KEPT), tmp_path)
    assert built.algorithm.inner is not None
    problem, _ = built.instance.at(0)
    for k in range(4):
        lam, end = states[k].lam, built.algorithm.inner(states[k + 1])
        expected = norm_of_inner_gradient(built, end, lam) / norm_of_inner_gradient(built, problem.init(lam), lam)
        assert float(values[k]["inner_gradient_relative"]) == pytest.approx(expected, rel=1e-9)
    assert float(values[3]["inner_gradient_relative"]) < float(values[0]["inner_gradient_relative"])


def test_contraction_in_real_time_is_that_of_the_last_step(tmp_path: Path) -> None:
    built, states, values = stepped(kept_on("real_time", KEPT), tmp_path)
    assert built.algorithm.inner is not None
    problem, _ = built.instance.at(0)
    flat, unravel = trees.ravel(built.algorithm.inner(states[4]))
    hessian = torch.func.hessian(lambda w: problem.inner(unravel(w), states[3].lam))(flat)
    radius = (1 - 0.1 * torch.linalg.eigvalsh(hessian)).abs().max()
    assert float(values[3]["contraction_factor"]) == pytest.approx(float(radius), rel=1e-6)


def test_minibatch_algorithms_are_compared_where_they_are(tmp_path: Path) -> None:
    """With all examples and many linear steps AmIGO's direction is the implicit hypergradient at its w; with one step
    it is not, and the error says by how much."""
    errors = {}
    for steps in (1, 150):
        spec = kept_on("amigo", STOCHASTIC, batch=None, linear_steps=steps, inner_rate=0.3)
        built, states, values = stepped(spec, tmp_path)
        assert built.algorithm.inner is not None
        problem, _ = built.instance.at(0)
        lam, w = states[2].lam, built.algorithm.inner(states[2])
        expected = norm_of_inner_gradient(built, w, lam) / norm_of_inner_gradient(built, problem.init(lam), lam)
        assert float(values[2]["inner_gradient_relative"]) == pytest.approx(expected, rel=1e-9)
        errors[steps] = float(values[2]["comparison_error"])
        steps_of = [trees.subtract(states[k].lam, states[k + 1].lam) for k in (1, 2)]
        expected = float(cosine(steps_of[0], steps_of[1]))
        assert float(values[2]["direction_cosine"]) == pytest.approx(expected, rel=1e-9)
    assert errors[150] < 1e-5 < 1e-2 < errors[1]


def test_a_minibatch_algorithm_resumes_with_its_last_direction(tmp_path: Path) -> None:
    spec = kept_on("soba", {"direction": {"every": 1}})
    checkpoints = MemoryCheckpoints()
    _, recorder = finished(spec, tmp_path, checkpoints)
    resumed_from = MemoryCheckpoints()
    resumed_from.save(checkpoints.saved[2])
    _, rest = finished(spec, tmp_path, resumed_from)
    curve = recorder.curves["direction_cosine"]
    assert len(curve) == 3
    assert rest.curves["direction_cosine"] == {k: curve[k] for k in curve if k >= checkpoints.saved[2].hyperiteration}


def finished(spec: Experiment, data_dir: Path, checkpoints: MemoryCheckpoints) -> tuple[dict[str, Any], MemoryRecorder]:
    recorder = MemoryRecorder()
    outcome = run(
        spec, device="cpu", data_dir=data_dir, recorder=recorder, checkpoints=checkpoints, checkpoint_seconds=0.0
    )
    assert isinstance(outcome, Finished)
    return outcome.result, recorder


def test_thresholds_warn_and_the_result_counts(tmp_path: Path) -> None:
    result, recorder = finished(described(diagnostics=ALL), tmp_path, MemoryCheckpoints())
    (first, *rest) = [
        data for kind, data in recorder.events if kind == "warning" if data["series"] == "truncation_error"
    ]
    assert first["hyperiteration"] == 0
    assert first["message"].startswith("T too short: relative truncation error 0.")
    assert not rest  # it stays too short: one warning
    found = result["diagnostics"]
    assert found.keys() == SERIES | {"hypergradient_norm", "inner_gradient_norm"}
    assert found["truncation_error"]["warnings"] == 1
    assert found["truncation_error"]["worst"] == max(recorder.curves["truncation_error"].values())
    assert found["truncation_error"]["last"] == recorder.curves["truncation_error"][4]
    assert found["comparison_error"]["worst"] < 1e-2
    assert found["contraction_factor"]["warnings"] == 0
    (convergence,) = [entry for entry in result["assumptions"] if entry["name"] == "uniform convergence"]
    assert convergence["status"] == "by construction"


def test_measured_assumptions_are_judged_by_their_values(tmp_path: Path) -> None:
    spec = described("regularization", {"contraction": {"every": 1}, "stationarity": {"every": 2}})
    result, recorder = finished(spec, tmp_path, MemoryCheckpoints())
    (convergence,) = [entry for entry in result["assumptions"] if entry["name"] == "uniform convergence"]
    names = ("contraction_factor", "inner_gradient_relative")
    assert convergence["worst"] == {name: max(recorder.curves[name].values()) for name in names}
    assert convergence["worst"]["contraction_factor"] < 1
    assert convergence["worst"]["inner_gradient_relative"] > 0.1  # four steps are few
    assert convergence["status"] == "not met on measurement"
    for name in names:
        assert f"{name} was {convergence['worst'][name]:.6g}" in convergence["reason"]


def test_a_rate_that_is_too_large_is_warned_about_before_it_diverges(tmp_path: Path) -> None:
    spec = described(diagnostics={"contraction": {"every": 1}}, dynamics={"kind": "gradient_descent", "rate": 2.06})
    _, recorder = finished(spec, tmp_path, MemoryCheckpoints())
    messages = [data["message"] for kind, data in recorder.events if kind == "warning"]
    assert messages == ["inner dynamics not contracting: factor 1.06 at w_T"]


def test_the_result_does_not_depend_on_where_it_was_interrupted(tmp_path: Path) -> None:
    spec = described(diagnostics=ALL)
    checkpoints = MemoryCheckpoints()
    whole, recorder = finished(spec, tmp_path, checkpoints)
    assert len(checkpoints.saved) > 3
    for checkpoint in checkpoints.saved:
        resumed_from = MemoryCheckpoints()
        resumed_from.save(checkpoint)
        again, rest = finished(spec, tmp_path, resumed_from)
        assert again["diagnostics"] == whole["diagnostics"]
        assert again["assumptions"] == whole["assumptions"]
        for name in SERIES:
            curve = recorder.curves[name]
            assert rest.curves.get(name, {}) == {k: curve[k] for k in curve if k >= checkpoint.hyperiteration}


def test_solver_residuals_are_warned_about_without_being_asked(tmp_path: Path) -> None:
    solver = {"kind": "cg", "iterations": 1}
    _, recorder = finished(
        described(hypergradient={"kind": "implicit", "solver": solver}), tmp_path, MemoryCheckpoints()
    )
    warnings = [data for kind, data in recorder.events if kind == "warning"]
    assert [warning["series"] for warning in warnings] == ["solver_residual"]
    assert math.isclose(warnings[0]["value"], recorder.curves["solver_residual"][0])


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "truncation of exact": (
        {"truncation": {"every": 1}},
        {"hypergradient": {"kind": "exact"}},
        "truncation/every",
        "`reverse`",
    ),
    "contraction of exact": (
        {"contraction": {"every": 1}},
        {"hypergradient": {"kind": "exact"}},
        "contraction/every",
        "`reverse`",
    ),
    "contraction of a line search": (
        {"contraction": {"every": 1}},
        {"hypergradient": {"kind": "implicit"}, "dynamics": {"kind": "line_search"}},
        "contraction/every",
        "`gradient_descent`",
    ),
    "half a step": ({"truncation": {"every": 1, "steps": "half"}}, {"steps": 1}, "truncation/steps", "`double`"),
    "an inner run that stops by itself": (
        {"truncation": {"every": 1}},
        {"hypergradient": {"kind": "implicit", "schedule": {"kind": "polynomial"}, "stop_inner": True}},
        "truncation/every",
        "measure the `comparison`",
    ),
    "differences at another place": (
        {"comparison": {"every": 1}},
        {"hypergradient": {"kind": "implicit", "warm_start_inner": True}},
        "comparison/against",
        "give `exact` or `implicit`",
    ),
    "another method that is not possible": (
        {"comparison": {"every": 1, "against": {"kind": "reverse", "truncate": 99}}},
        {},
        "comparison/against",
        "lower `truncate`",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    diagnostics, algorithm, pointer, message = REFUSED[name]
    with pytest.raises(ValidationError, match=message) as caught:
        described(diagnostics=diagnostics, **algorithm)
    (error,) = caught.value.errors()
    assert error["ctx"]["pointer"] == f"/diagnostics/{pointer}"


MEANINGLESS = (
    ("real_time", "truncation", "no T inner steps"),
    ("real_time", "comparison", "no other method"),
    ("soba", "truncation", "no T inner steps"),
    ("pbgd", "contraction", "no inner dynamics"),
)


@pytest.mark.parametrize(("algorithm", "section", "reason"), MEANINGLESS)
def test_what_says_nothing_of_an_algorithm_is_refused_with_the_reason(
    algorithm: str, section: str, reason: str
) -> None:
    with pytest.raises(ValidationError, match=reason) as caught:
        kept_on(algorithm, {section: ALL[section]})
    assert caught.value.errors()[0]["ctx"]["pointer"] == f"/diagnostics/{section}/every"


@pytest.mark.parametrize(
    ("against", "message"),
    [
        (None, "no f_T"),
        ({"kind": "reverse"}, "no inner dynamics"),
        ({"kind": "implicit", "solver": {"kind": "neumann"}}, "no inner dynamics"),
        ({"kind": "implicit", "solver": {"kind": "stochastic"}}, "use `cg`"),
    ],
)
def test_a_comparison_needs_a_method_without_inner_steps(against: dict[str, Any] | None, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        kept_on("saba", {"comparison": {"every": 1, "against": against}})
    assert caught.value.errors()[0]["ctx"]["pointer"] == "/diagnostics/comparison/against"


def test_what_is_not_asked_for_refuses_nothing() -> None:
    described(diagnostics={"comparison": {"against": {"kind": "reverse", "truncate": 99}}})
    described(diagnostics={"truncation": {"steps": "half"}}, steps=1)
