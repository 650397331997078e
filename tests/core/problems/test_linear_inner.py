"""Experiments with linear models take analytic steps, and find what the plain methods find."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.bilevel import linear_models, trees
from core.bilevel.problem import Hypergradient
from core.build import build_instance, make_context
from core.inner import build_inner
from core.methods import build_method
from core.problems.inner import Inner
from core.spec import Experiment

CLEANING: dict[str, Any] = {"kind": "hyper_cleaning", "train": 40, "validation": 30, "l2": 0.03}
DIGITS: dict[str, Any] = {"kind": "regularization", "dataset": {"kind": "digits"}, "train": 40, "validation": 30}
DIABETES: dict[str, Any] = {"kind": "regularization", "strength": "feature"}
NO_OFFSET = {"model": {"kind": "linear", "bias": False}}
WITHOUT = {"model": {"kind": "mlp", "hidden": [4]}}
FIXED: dict[str, Any] = {"kind": "gradient_descent", "rate": 0.05}
LEARNED: dict[str, Any] = FIXED | {"learn_rate": True}


@pytest.fixture
def find(tmp_path: Path) -> Callable[..., Hypergradient]:
    """(problem, dynamics, hypergradient, how to treat the inner problem) -> hypergradient at the start, in float64."""

    def compute(
        problem: dict[str, Any], dynamics: dict[str, Any], method: dict[str, Any], treat: Callable[[Inner], Inner]
    ) -> Hypergradient:
        algorithm = {"steps": 7, "dynamics": dynamics, "hypergradient": method}
        spec = Experiment.model_validate(
            {"problem": problem, "algorithm": algorithm, "resources": {"precision": "float64"}}
        )
        context, inner = make_context(spec, device="cpu", data_dir=tmp_path), treat(build_inner(spec.algorithm))
        instance = build_instance(spec.problem, inner, context)
        chosen = build_method(spec, inner, context).at(0, ())
        return chosen(*instance.at(0), instance.initial, steps=7)

    return compute


def plain(inner: Inner) -> Inner:
    return replace(inner, steady_rate=None)


@pytest.mark.parametrize(
    ("problem", "dynamics"),
    [
        (CLEANING, FIXED),
        (CLEANING | NO_OFFSET | {"l2": 0.0}, LEARNED),
        (DIGITS, LEARNED),
        (DIGITS | NO_OFFSET, LEARNED),
        (DIABETES, LEARNED),
    ],
)
@pytest.mark.parametrize(
    "method",
    [
        {"kind": "reverse"},
        {"kind": "reverse", "segment": "auto"},
        {"kind": "forward"},
        {"kind": "forward", "chunk": 1},
        {"kind": "random_forward", "directions": 3, "chunk": 2},
        {"kind": "unrolled"},
    ],
    ids=lambda method: "-".join(map(str, method.values())),
)
def test_the_hypergradient_is_that_of_the_plain_steps(
    find: Callable[..., Hypergradient], problem: dict[str, Any], dynamics: dict[str, Any], method: dict[str, Any]
) -> None:
    found = find(problem, dynamics, method, lambda inner: inner)
    expected = find(problem, dynamics, method, plain)
    assert trees.norm(trees.subtract(found.grad, expected.grad)) <= 1e-10 * trees.norm(expected.grad)
    assert trees.norm(trees.subtract(found.state.w, expected.state.w)) <= 1e-10 * trees.norm(expected.state.w)
    for name, value in expected.diagnostics.items():
        assert float(found.diagnostics[name]) == pytest.approx(float(value), rel=1e-9), name


@pytest.mark.parametrize(
    ("problem", "dynamics", "method", "analytic"),
    [
        (CLEANING, LEARNED, {"kind": "reverse"}, "reverse"),
        (DIGITS, LEARNED, {"kind": "forward"}, "push"),
        (DIGITS, FIXED, {"kind": "forward", "chunk": 1}, "push"),
        (CLEANING, FIXED, {"kind": "random_forward"}, "push"),
        (DIGITS | WITHOUT, FIXED, {"kind": "reverse"}, None),
        (DIGITS, FIXED | {"batch": 8}, {"kind": "reverse"}, None),
        (DIGITS, LEARNED | {"rate_per_step": True}, {"kind": "reverse"}, None),
        (DIGITS, {"kind": "heavy_ball", "rate": 0.05}, {"kind": "reverse"}, None),
        (DIGITS, {"kind": "heavy_ball", "rate": 0.05}, {"kind": "forward"}, None),
        ({"kind": "quadratic"}, FIXED, {"kind": "reverse"}, None),
    ],
)
def test_who_takes_analytic_steps(
    find: Callable[..., Hypergradient],
    monkeypatch: pytest.MonkeyPatch,
    problem: dict[str, Any],
    dynamics: dict[str, Any],
    method: dict[str, Any],
    analytic: str | None,
) -> None:
    taken: set[str] = set()

    def noting(name: str) -> Callable[..., Any]:
        own: Callable[..., Any] = getattr(linear_models, name)

        def noted(*arguments: Any, **knobs: Any) -> Any:
            taken.add(name)
            return own(*arguments, **knobs)

        return noted

    for name in ("reverse", "push"):
        monkeypatch.setattr(linear_models, name, noting(name))
    find(problem, dynamics, method, lambda inner: inner)
    assert taken == ({analytic} if analytic else set())
