"""What the spec says about the theorem's assumptions, and that it is true of the problems that are built from it."""

from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from core.bilevel import trees
from core.bilevel.hypergradients.inner import run
from core.build import build
from core.spec import KINDS, Experiment, kind_of
from core.spec.assumptions import assumptions
from core.spec.judging import Worst, judged
from core.spec.plugins import PluginModel, PluginProblem

NAMES = (
    "compact outer set",
    "continuous outer objective",
    "continuous inner objective",
    "unique inner minimizer",
    "bounded inner minimizers",
    "Lipschitz outer objective",
    "uniform convergence",
    "hypergradient of f_T",
)
MET, MEASURED, NOT_MET = "by construction", "measured", "not met"


def spec(problem: dict[str, Any], **algorithm: Any) -> Experiment:
    return Experiment.model_validate(
        {"problem": problem, "algorithm": algorithm, "resources": {"precision": "float64"}}
    )


def statuses(problem: dict[str, Any], **algorithm: Any) -> tuple[str, ...]:
    """Of compactness, uniqueness, boundedness, Lipschitz continuity, convergence; the others are always met."""
    found = {entry["name"]: entry["status"] for entry in assumptions(spec(problem, **algorithm))}
    assert found["continuous outer objective"] == found["continuous inner objective"] == MET
    return tuple(found[name] for name in (NAMES[0], *NAMES[3:-1]))


@pytest.mark.parametrize("problem", [kind_of(member) for member in KINDS["problem"]])
def test_every_problem_has_every_assumption_with_a_reason(problem: str) -> None:
    found = assumptions(spec({"kind": problem}))
    assert tuple(entry["name"] for entry in found) == NAMES
    for entry in found:
        assert entry.keys() == {"name", "statement", "status", "reason", "series"}
        assert entry["status"] in (MET, MEASURED, NOT_MET)
        assert entry["reason"].endswith(".")
        assert bool(entry["series"]) == (entry["status"] == MEASURED)


@pytest.mark.parametrize("algorithm", [kind_of(member) for member in KINDS["algorithm"]])
def test_the_theorem_is_about_the_nested_algorithm(algorithm: str) -> None:
    problem: dict[str, Any] = {"kind": "random_quadratics"}
    if algorithm == "joint":
        problem = {"kind": "hyper_representation", "l2": 0.1, "outer_set": "support"}
    assert statuses(problem, kind=algorithm)[-1] == (MEASURED if algorithm == "nested" else NOT_MET)
    assert follows(problem, kind=algorithm) == (MET if algorithm == "nested" else NOT_MET)


def follows(problem: dict[str, Any], **algorithm: Any) -> str:
    """Whether the outer steps follow the gradient of f_T."""
    entry: dict[str, str] = assumptions(spec(problem, **algorithm))[-1]
    return entry["status"]


@pytest.mark.parametrize(
    ("hypergradient", "expected"),
    [
        ({"kind": "unrolled"}, MET),
        ({"kind": "reverse"}, MET),
        ({"kind": "reverse", "segment": 3}, MET),
        ({"kind": "reverse", "truncate": 20}, MET),  # of 20
        ({"kind": "reverse", "truncate": 19}, NOT_MET),
        ({"kind": "forward"}, MET),
        ({"kind": "random_forward"}, MET),
        ({"kind": "implicit"}, NOT_MET),
        ({"kind": "exact"}, MET),
    ],
)
def test_which_hypergradients_are_those_of_f_t(hypergradient: dict[str, Any], expected: str) -> None:
    assert follows({"kind": "quadratic"}, steps=20, hypergradient=hypergradient) == expected


def test_reptile_follows_no_gradient() -> None:
    assert follows({"kind": "initialization"}, hypergradient={"kind": "reptile"}) == NOT_MET


RATE = {"kind": "gradient_descent", "rate": 0.05}
CLEANING: dict[str, Any] = {"kind": "hyper_cleaning"}
WINE: dict[str, Any] = {"kind": "regularization", "dataset": {"kind": "wine"}}
CANCER: dict[str, Any] = {"kind": "regularization", "dataset": {"kind": "breast_cancer"}, "loss": "logistic"}
RIDGE: dict[str, Any] = {"kind": "hyper_representation", "heads": {"kind": "ridge"}}
PROTOTYPES: dict[str, Any] = {"kind": "hyper_representation", "heads": {"kind": "prototypes"}}
CASES: tuple[tuple[dict[str, Any], dict[str, Any], tuple[str, ...]], ...] = (
    ({"kind": "quadratic"}, {}, (NOT_MET, MET, MET, MET, MET)),
    ({"kind": "quadratic"}, {"dynamics": RATE | {"rate": 2}}, (NOT_MET, MET, MET, NOT_MET, NOT_MET)),
    ({"kind": "quadratic"}, {"dynamics": {"kind": "adam"}}, (NOT_MET, MET, MET, MEASURED, MEASURED)),
    ({"kind": "quadratic"}, {"dynamics": {"kind": "adamw", "decay": 0}}, (NOT_MET, MET, MET, MEASURED, MEASURED)),
    ({"kind": "quadratic"}, {"dynamics": {"kind": "adamw"}}, (NOT_MET, MET, MET, NOT_MET, NOT_MET)),
    ({"kind": "quadratic"}, {"dynamics": RATE | {"learn_rate": True}}, (NOT_MET, MET, MET, MEASURED, MEASURED)),
    ({"kind": "regularization"}, {}, (NOT_MET, MET, MET, MEASURED, MEASURED)),
    ({"kind": "regularization"}, {"hypergradient": {"kind": "exact"}}, (NOT_MET, MET, MET, MET, MET)),
    ({"kind": "regularization"}, {"dynamics": RATE | {"batch": 5}}, (NOT_MET, MET, MET, NOT_MET, NOT_MET)),
    ({"kind": "initialization"}, {}, (NOT_MET, NOT_MET, NOT_MET, NOT_MET, NOT_MET)),
    ({"kind": "initialization", "proximal": 1}, {}, (NOT_MET, NOT_MET, NOT_MET, NOT_MET, NOT_MET)),
    ({"kind": "initialization", "adapt": "head"}, {}, (NOT_MET, NOT_MET, NOT_MET, MET, NOT_MET)),
    ({"kind": "initialization", "adapt": "head", "proximal": 1}, {}, (NOT_MET, MET, MET, MET, MEASURED)),
    (WINE, {}, (NOT_MET, NOT_MET, NOT_MET, MET, NOT_MET)),
    (WINE | {"model": {"kind": "linear", "bias": False}}, {}, (NOT_MET, MET, MET, MET, MEASURED)),
    (WINE | {"model": {"kind": "mlp"}}, {}, (NOT_MET, NOT_MET, NOT_MET, NOT_MET, NOT_MET)),
    (CANCER, {}, (NOT_MET, MET, MET, MET, MEASURED)),
    (CANCER | {"folds": 5}, {}, (NOT_MET, MEASURED, MEASURED, MET, MEASURED)),
    (CANCER | {"model": {"kind": "linear", "bias": False}}, {}, (NOT_MET, MET, MET, MET, MEASURED)),
    ({"kind": "random_quadratics"}, {}, (NOT_MET, MET, MET, MEASURED, MEASURED)),
    ({"kind": "linear_representation"}, {}, (NOT_MET, MET, MET, MEASURED, MEASURED)),
    ({"kind": "linear_representation"}, {"hypergradient": {"kind": "exact"}}, (NOT_MET, MET, MET, MET, MET)),
    (CLEANING, {"dynamics": RATE}, (NOT_MET, MET, MET, MET, MET)),
    (CLEANING, {"dynamics": RATE | {"rate": 0.1}}, (NOT_MET, MET, MET, MET, MEASURED)),
    (CLEANING | {"l2": 0}, {}, (NOT_MET, NOT_MET, NOT_MET, MET, NOT_MET)),
    (CLEANING | {"weights": {"kind": "clipped"}}, {"dynamics": RATE}, (MET, MET, MET, MET, MET)),
    (
        CLEANING | {"weights": {"kind": "clipped"}},
        {"dynamics": RATE | {"learn_rate": True}},
        (NOT_MET, MET, MET, MET, MEASURED),
    ),
    ({"kind": "hyper_representation"}, {}, (NOT_MET, NOT_MET, NOT_MET, MET, NOT_MET)),
    ({"kind": "hyper_representation", "l2": 0.1}, {}, (NOT_MET, MET, MET, MET, MEASURED)),
    (RIDGE, {}, (NOT_MET, MET, MET, MET, MEASURED)),
    (RIDGE, {"hypergradient": {"kind": "exact"}}, (NOT_MET, MET, MET, MET, MET)),
    (PROTOTYPES, {"hypergradient": {"kind": "exact"}}, (NOT_MET, MET, MET, MET, MET)),
    (PROTOTYPES, {"dynamics": RATE | {"rate": 5 * 1.99}}, (NOT_MET, MET, MET, MET, MET)),
    (PROTOTYPES, {"dynamics": RATE | {"rate": 5 * 2.01}}, (NOT_MET, MET, MET, MEASURED, MEASURED)),
    (PROTOTYPES | {"way_from": 2}, {"dynamics": RATE | {"rate": 2 * 1.99}}, (NOT_MET, MET, MET, MET, MET)),
    (PROTOTYPES | {"way_from": 2}, {"dynamics": RATE | {"rate": 2 * 2.01}}, (NOT_MET, MET, MET, MEASURED, MEASURED)),
    ({"kind": "multiclass_transfer"}, {}, (NOT_MET, MET, MET, MET, MET)),
)


@pytest.mark.parametrize(("problem", "algorithm", "expected"), CASES)
def test_statuses(problem: dict[str, Any], algorithm: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert statuses(problem, **algorithm) == expected


class Foreign(PluginProblem):
    """Of a package."""

    build = "nowhere:nothing"
    kind: Literal["foreign"] = "foreign"

    def inner_variables(self) -> int:
        return 1

    def outer_variables(self) -> int:
        return 1

    def training_examples(self) -> int:
        return 10


class ForeignModel(PluginModel):
    """Of a package."""

    build = "nowhere:nothing"
    kind: Literal["foreign"] = "foreign"

    def inner_variables(self, features: int, outputs: int) -> int:
        return 1


def foreign(**algorithm: Any) -> Experiment:
    return spec({"kind": "regularization"}, **algorithm).model_copy(update={"problem": Foreign()})


NOT_KNOWN = "not known"
LEARNED_RATE = {"dynamics": RATE | {"learn_rate": True}}


@pytest.mark.parametrize(
    ("algorithm", "compact", "convergence"),
    [
        ({}, NOT_KNOWN, MEASURED),
        ({"dynamics": {"kind": "adam"}}, NOT_KNOWN, MEASURED),
        (LEARNED_RATE, NOT_MET, MEASURED),
        ({"hypergradient": {"kind": "exact"}}, NOT_KNOWN, MET),
        ({"dynamics": RATE | {"batch": 5}}, NOT_KNOWN, NOT_MET),
        ({"dynamics": {"kind": "adamw"}}, NOT_KNOWN, NOT_MET),
        ({"kind": "real_time"}, NOT_KNOWN, NOT_MET),
    ],
)
def test_of_a_package_is_said_only_what_is_known(algorithm: dict[str, Any], compact: str, convergence: str) -> None:
    found = assumptions(foreign(**algorithm))
    expected = (compact, *[NOT_KNOWN] * 5, convergence)
    assert tuple(entry["status"] for entry in found[:-1]) == expected
    reasons = [entry["reason"] for entry in found[:-1]]
    assert not any("There is no single minimizer" in reason for reason in reasons)
    assert not reasons[0].startswith("The outer variables are free")
    assert ("is not known." in reasons[-1]) == (convergence == MEASURED)


def test_of_a_package_s_model_the_outer_variables_are_known() -> None:
    ridge = spec({"kind": "regularization"})
    problem = ridge.problem.model_copy(update={"model": ForeignModel()})
    found = assumptions(ridge.model_copy(update={"problem": problem}))
    assert tuple(entry["status"] for entry in found[:-1]) == (NOT_MET, *[NOT_KNOWN] * 5, MEASURED)


def test_what_is_not_known_stays_so_and_convergence_is_measured() -> None:
    worst = {"contraction_factor": Worst(0.9, 1), "inner_gradient_relative": Worst(0.01, 1)}
    found = {entry["name"]: entry for entry in judged(foreign(), worst)}
    assert found["unique inner minimizer"]["status"] == NOT_KNOWN
    assert found["unique inner minimizer"]["worst"] == {}
    assert found["uniform convergence"]["status"] == "met on measurement"


@pytest.mark.parametrize("rate", [0.99, 1.01])
@pytest.mark.parametrize(
    ("dynamics", "bound"),
    [
        ({"kind": "gradient_descent"}, 2.0),
        ({"kind": "heavy_ball", "momentum": 0.5}, 3.0),
        ({"kind": "nesterov", "momentum": 0.5}, 1.5),
    ],
)
def test_the_bounds_of_the_rate_are_those_where_quadratics_diverge(
    dynamics: dict[str, Any], bound: float, rate: float, tmp_path: Path
) -> None:
    problem = {"kind": "quadratic", "inner_dimension": 4, "outer_dimension": 2, "condition": 3}
    chosen = {"steps": 3000, "dynamics": dynamics | {"rate": rate * bound}}
    instance = build(spec(problem, **chosen), device="cpu", data_dir=tmp_path).instance
    stated, phi = instance.at(0)
    assert stated.solution is not None
    end = run(phi, instance.initial, 3000)[1].w
    error = float(trees.norm(trees.subtract(end, stated.solution(instance.initial))))
    assert statuses(problem, **chosen)[-1] == (MET if rate < 1 else NOT_MET)
    assert error < 1e-6 if rate < 1 else error > 1e3


def test_the_curvature_of_hyper_cleaning_is_within_what_the_bound_assumes(tmp_path: Path) -> None:
    problem = {"kind": "hyper_cleaning", "dataset": {"kind": "wine"}, "train": 60, "validation": 30, "l2": 0.1}
    instance = build(spec(problem, steps=1), device="cpu", data_dir=tmp_path).instance
    stated, _ = instance.at(0)
    lam = {"logit_weight": torch.full((60,), 30.0, dtype=torch.float64)}  # weights of nearly 1, the largest curvature
    flat, unravel = trees.ravel(stated.init(lam))
    for scale in (0.0, 0.3):
        w = scale * torch.linspace(-1, 1, len(flat), dtype=torch.float64)
        eigenvalues = torch.linalg.eigvalsh(torch.func.hessian(lambda w: stated.inner(unravel(w), lam))(w))
        assert eigenvalues[0] >= 0.1 - 1e-12
        assert eigenvalues[-1] <= 0.1 + (13 + 1) / 2


@pytest.mark.parametrize("strength", [1e-8, 1.0, 1e8])
def test_ridge_solutions_stay_bounded_whatever_the_strengths(strength: float, tmp_path: Path) -> None:
    problem = {"kind": "regularization", "train": 30, "validation": 20, "strength": "feature"}
    instance = build(spec(problem), device="cpu", data_dir=tmp_path).instance
    stated, _ = instance.at(0)
    assert stated.solution is not None
    generator = torch.Generator().manual_seed(0)
    sizes = []
    for _ in range(20):
        spread = 20 * torch.randn(10, generator=generator, dtype=torch.float64)
        w = stated.solution({"log_strength": spread + torch.tensor(strength, dtype=torch.float64).log()})
        sizes.append(float(trees.norm(w)))
    assert max(sizes) < 50
