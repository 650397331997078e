"""The canonical form, its hash, and what a spec refuses field by field."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from core.spec import KINDS, Experiment, kind_of

QUADRATIC: dict[str, Any] = {"problem": {"kind": "quadratic"}}
PROBLEMS = [kind_of(member) for member in KINDS["problem"]]


@pytest.mark.parametrize("kind", PROBLEMS)
def test_canonical_form_is_a_fixed_point(kind: str) -> None:
    spec = Experiment.model_validate({"problem": {"kind": kind}})
    canonical = spec.canonical()
    again = Experiment.model_validate(json.loads(json.dumps(canonical)))
    assert again == spec
    assert again.canonical() == canonical
    assert again.sha256() == spec.sha256()


@pytest.mark.parametrize(
    ("section", "member"), [(section, member) for section, members in KINDS.items() for member in members]
)
def test_every_kind_can_be_made_without_arguments_and_names_itself(section: str, member: type) -> None:
    assert member().kind == kind_of(member)


def test_every_default_is_written_out() -> None:
    canonical = Experiment.model_validate(QUADRATIC).canonical()
    assert canonical["algorithm"]["dynamics"] == {
        "kind": "gradient_descent",
        "rate": 0.1,
        "learn_rate": False,
        "rate_per_step": False,
        "rate_per_parameter": False,
        "batch": None,
    }
    assert canonical["resources"]["precision"] == "float32"


@pytest.mark.parametrize(
    ("hyperiterations", "every", "expected"),
    [
        (0, None, 1),
        (1, None, 1),
        (10, None, 1),
        (11, None, 2),
        (60, None, 6),
        (1000, None, 100),
        (50_000, None, 100),
        (60, 100, 100),
    ],
)
def test_evaluations_are_a_tenth_of_the_hyperiterations_apart(
    hyperiterations: int, every: int | None, expected: int
) -> None:
    spec = Experiment.model_validate(
        {**QUADRATIC, "algorithm": {"hyperiterations": hyperiterations}, "evaluation": {"every": every}}
    )
    assert spec.evaluated_every == expected
    assert spec.canonical()["evaluation"]["every"] == every


@pytest.mark.parametrize("kind", ["hyper_representation", "initialization", "multiclass_transfer", "learned_optimizer"])
def test_evaluations_of_episodes_and_tasks_are_100_hyperiterations_apart(kind: str) -> None:
    spec = Experiment.model_validate({"problem": {"kind": kind}, "algorithm": {"hyperiterations": 60}})
    assert spec.evaluated_every == 100


def test_hash_does_not_depend_on_order_or_on_defaults_being_written() -> None:
    short = Experiment.model_validate({"problem": {"kind": "quadratic", "condition": 5, "damping": 1}})
    long = Experiment.model_validate(
        {"seed": 0, "name": "untitled", "problem": {"damping": 1.0, "condition": 5.0, "kind": "quadratic"}}
    )
    assert short.sha256() == long.sha256()


def test_hash_is_stable_across_versions() -> None:
    # A change here means that results stored earlier no longer match their specs: say so in the change log.
    stored = {**QUADRATIC, "evaluation": {"every": 100}}  # the default of version 0.1.0, whose specs have it written
    assert Experiment.model_validate(stored).sha256() == (
        "7ebab99ce08b07b130c5db67a7910ae66a374a1b1b49bf68a348b4c0e3cafd6e"
    )
    assert Experiment.model_validate(QUADRATIC).sha256() != Experiment.model_validate(stored).sha256()


@pytest.mark.parametrize("change", [{"seed": 1}, {"name": "b"}, {"problem": {"kind": "quadratic", "damping": 0.2}}])
def test_hash_sees_every_change(change: dict[str, Any]) -> None:
    assert Experiment.model_validate(QUADRATIC | change).sha256() != Experiment.model_validate(QUADRATIC).sha256()


@pytest.mark.parametrize(
    ("spec", "location"),
    [
        ({**QUADRATIC, "sede": 1}, ("sede",)),
        ({"problem": {"kind": "quadratic", "dampening": 1}}, ("problem", "quadratic", "dampening")),
        ({"problem": {"kind": "cubic"}}, ("problem",)),
        ({"problem": {}}, ("problem",)),
        ({}, ("problem",)),
        ({**QUADRATIC, "seed": -1}, ("seed",)),
        ({**QUADRATIC, "seed": 2**53}, ("seed",)),
        ({**QUADRATIC, "labels": {"": "x"}}, ("labels", "", "[key]")),
        ({**QUADRATIC, "resources": {"time_limit": float("inf")}}, ("resources", "time_limit")),
        ({**QUADRATIC, "algorithm": {"steps": 0}}, ("algorithm", "nested", "steps")),
        (
            {**QUADRATIC, "algorithm": {"optimizer": {"kind": "adam", "rate": 0}}},
            ("algorithm", "nested", "optimizer", "adam", "rate"),
        ),
        ({"problem": {"kind": "quadratic", "damping": float("nan")}}, ("problem", "quadratic", "damping")),
        ({**QUADRATIC, "seed": True}, ("seed",)),
        ({**QUADRATIC, "algorithm": {"steps": True}}, ("algorithm", "nested", "steps")),
        ({**QUADRATIC, "resources": {"memory_limit": 399}}, ("resources", "memory_limit")),
        ({**QUADRATIC, "resources": {"time_limit": False}}, ("resources", "time_limit")),
        (
            {**QUADRATIC, "algorithm": {"hypergradient": {"kind": "reverse", "segment": True}}},
            ("algorithm", "nested", "hypergradient", "reverse", "segment"),
        ),
    ],
)
def test_bad_fields_are_named(spec: dict[str, Any], location: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        Experiment.model_validate(spec)
    assert [error["loc"] for error in caught.value.errors()] == [location]


def test_a_spec_is_frozen() -> None:
    spec = Experiment.model_validate(QUADRATIC)
    with pytest.raises(ValidationError, match="frozen"):
        spec.seed = 1
