"""A sweep is the product of its grid and seeds, every member a possible experiment; refusals name their place."""

import json
import math
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from core.spec import Experiment, Sweep
from core.spec.paths import fields, meant, placed, shortest

BASE: dict[str, Any] = {"name": "toy", "labels": {"a": "base", "b": "base"}, "problem": {"kind": "quadratic"}}
AXES: dict[str, st.SearchStrategy[Any]] = {
    "algorithm.steps": st.integers(1, 1000),
    "condition": st.floats(1, 1e6),
    "problem.damping": st.floats(0, 1e3),
    "optimizer": st.sampled_from([{"kind": "adam"}, {"kind": "adam", "rate": 0.5}, {"kind": "sgd", "rate": 0.5}]),
    "evaluation.every": st.integers(1, 10_000),
}


def sweep(**fields: Any) -> Sweep:
    return Sweep.model_validate({"base": BASE, **fields})


def refusal(**fields: Any) -> dict[str, Any]:
    with pytest.raises(ValidationError) as caught:
        sweep(**fields)
    (error,) = caught.value.errors()
    return {"loc": error["loc"], "message": error["msg"], **error.get("ctx", {})}


@st.composite
def grids(draw: st.DrawFn) -> dict[str, list[Any]]:
    paths = draw(st.lists(st.sampled_from(sorted(AXES)), unique=True, max_size=3))
    return {path: draw(st.lists(AXES[path], unique_by=json.dumps, min_size=1, max_size=4)) for path in paths}


@settings(max_examples=50, deadline=None, derandomize=True)
@given(grid=grids(), seeds=st.lists(st.integers(0, 2**53 - 1), unique=True, min_size=1, max_size=4))
def test_members_are_the_product_of_grid_and_seeds(grid: dict[str, list[Any]], seeds: list[int]) -> None:
    found = sweep(grid=grid, seeds=seeds, name="s", labels={"b": "sweep", "c": "sweep"})
    assert len(found.members) == math.prod(map(len, grid.values())) * len(seeds)
    assert len({member.experiment.sha256() for member in found.members}) == len(found.members)
    assert [member.experiment.seed for member in found.members[: len(seeds)]] == seeds, "seeds vary fastest"
    values = [tuple(json.dumps(value) for value in list(m.parameters.values())[:-1]) for m in found.members]
    places = [
        tuple([json.dumps(value) for value in each].index(one) for one, each in zip(row, grid.values(), strict=True))
        for row in values
    ]
    assert places == sorted(places), "the first field varies slowest"
    for member in found.members:
        assert member.parameters["seed"] == member.experiment.seed
        assert member.experiment.labels == {"a": "base", "b": "sweep", "c": "sweep"}
        assert member.experiment.name.startswith("s [")
    again = Sweep.model_validate(json.loads(json.dumps(found.canonical())))
    assert again.members == found.members
    assert (again.sha256(), again.canonical()) == (found.sha256(), found.canonical())


def test_without_a_grid_there_is_the_base_with_its_own_seed() -> None:
    (member,) = sweep(base={**BASE, "seed": 7}).members
    assert member.parameters == {"seed": 7}
    expected = {**BASE, "name": "untitled [seed=7]", "seed": 7}
    assert member.experiment == Experiment.model_validate(expected)


def test_members_are_named_after_their_values() -> None:
    found = sweep(
        name="methods",
        grid={
            "steps": [4],
            "hypergradient": [{"kind": "reverse"}, {"kind": "reverse", "segment": 2}],
            "optimizer.rate": [0.1],
            "dynamics.rate": [0.5],
        },
        seeds=[1],
    )
    assert [member.experiment.name for member in found.members] == [
        "methods [steps=4, hypergradient=reverse, optimizer.rate=0.1, dynamics.rate=0.5, seed=1]",
        "methods [steps=4, hypergradient=reverse(segment=2), optimizer.rate=0.1, dynamics.rate=0.5, seed=1]",
    ]
    assert list(found.members[0].parameters) == [
        "algorithm.steps",
        "algorithm.hypergradient",
        "algorithm.optimizer.rate",
        "algorithm.dynamics.rate",
        "seed",
    ]


def test_a_long_name_gives_way_to_the_number() -> None:
    found = sweep(name="n" * 190, grid={"steps": [1, 2]})
    names = [member.experiment.name for member in found.members]
    assert [name[-11:] for name in names] == [" [member 0]", " [member 1]"]
    assert {len(name) for name in names} == {200}


def test_a_field_of_an_object_that_is_not_there_keeps_the_kind() -> None:
    (member,) = sweep(grid={"algorithm.optimizer.rate": [0.3]}).members
    assert member.experiment.algorithm.model_dump()["optimizer"]["kind"] == "adam"
    assert member.experiment.algorithm.model_dump()["optimizer"]["rate"] == 0.3


def test_objects_are_set_before_fields_in_them_whatever_the_order() -> None:
    grid = {"algorithm.optimizer.rate": [0.3], "algorithm.optimizer": [{"kind": "sgd"}, {"kind": "adam"}]}
    kinds = [member.experiment.canonical()["algorithm"]["optimizer"] for member in sweep(grid=grid).members]
    assert [(each["kind"], each["rate"]) for each in kinds] == [("sgd", 0.3), ("adam", 0.3)]


@pytest.mark.parametrize(
    ("fields", "pointer", "message"),
    [
        ({"grid": {"algorithm.steps": [1, 0]}}, "/grid/algorithm.steps/1", "steps=0 is not possible"),
        ({"grid": {"steps": [1, "many"]}}, "/grid/steps/1", "steps=many is not possible"),
        ({"grid": {"algorithm": ["x", {}]}}, "/grid/algorithm/0", "algorithm=x is not possible"),
        (
            {"grid": {"steps": [1, 9], "hypergradient": [{"kind": "reverse", "segment": 4}]}},
            "/grid",
            "steps=1, hypergradient=reverse(segment=4) is not possible: /algorithm/hypergradient/segment: a segment of",
        ),
        ({"grid": {"hypergradient": [{"kind": "exact"}, {"kind": "nonsense"}]}}, "/grid/hypergradient/1", "nonsense"),
        ({"grid": {"rate": [1]}}, "/grid/rate", "give one of `algorithm.dynamics.rate` or `algorithm.optimizer.rate`"),
        ({"grid": {"stps": [1]}}, "/grid/stps", "use `algorithm.steps`"),
        ({"grid": {"a/b~c": [1]}}, "/grid/a~1b~0c", "no field `a/b~c`: use `name`, `labels`, `seed`, `problem`,"),
        (
            {"grid": {"optimizer.xyz": [1]}},
            "/grid/optimizer.xyz",
            "use `algorithm.optimizer.rate`, `algorithm.optimizer.decay`,",
        ),
        (
            {"grid": {"dynamics": [{"kind": "heavy_ball"}], "momentun": [0.5]}},
            "/grid/momentun",
            "use `algorithm.dynamics.momentum`",
        ),
        ({"grid": {"labels.a": ["x"]}}, "/grid/labels.a", "no field `labels.a`"),
        ({"grid": {"steps": [1], "algorithm.steps": [2]}}, "/grid/algorithm.steps", "the same field as `steps`"),
        ({"grid": {"steps": [1, 2, 1.0]}}, "/grid/steps/2", "there already"),
        ({"grid": {"optimizer": [{"kind": "sgd"}, {"kind": "sgd", "decay": 0.0}]}}, "/grid", "are the same experiment"),
        ({"grid": {"seed": [1]}}, "/grid/seed", "give them as `seeds`"),
        ({"grid": {"name": ["x"]}}, "/grid/name", "give the sweep a `name`"),
        ({"seeds": [1, 2, 1]}, "/seeds/2", "The seed 1 is there already"),
        ({"seeds": list(range(501)), "grid": {"steps": [1, 2]}}, "/grid", "2 x 501 (the last: seeds) are 1002"),
        (
            {"grid": {path: list(range(1, 1001)) for path in ("steps", "damping", "condition", "every")}},
            "/grid",
            "1000000000000 experiments, of at most 1000",
        ),
        ({"labels": {f"l{n}": "x" for n in range(49)}}, "/labels", "there are 51 labels"),
    ],
)
def test_what_cannot_be_is_refused_at_its_place(fields: dict[str, Any], pointer: str, message: str) -> None:
    found = refusal(**fields)
    assert found["pointer"] == pointer
    assert message in found["message"]


def test_a_value_that_is_possible_elsewhere_is_not_to_blame() -> None:
    """Shot 10 leaves room for 10 queries; with 15, it is the combination that cannot be."""
    base = {"problem": {"kind": "hyper_representation", "shot": 1, "query": 15}}
    assert refusal(base=base, grid={"shot": [1, 10], "query": [10, 15]})["pointer"] == "/grid"
    assert refusal(base=base, grid={"shot": [1, 10], "way": [2, 3]})["pointer"] == "/grid/shot/1"


@pytest.mark.parametrize(
    ("fields", "location"),
    [
        ({"base": {"problem": {"kind": "quadratic", "damp": 1}}}, ("base", "problem", "quadratic", "damp")),
        ({"base": {}}, ("base", "problem")),
        ({"base": []}, ("base",)),
        ({"grid": {"steps": []}}, ("grid", "steps")),
        ({"grid": {"steps": 3}}, ("grid", "steps")),
        ({"grid": {f"f{n}": [1] for n in range(21)}}, ("grid",)),
        ({"grid": {"": [1]}}, ("grid", "", "[key]")),
        ({"grid": {"x" * 201: [1]}}, ("grid", "x" * 201, "[key]")),
        ({"seeds": []}, ("seeds",)),
        ({"seeds": [-1]}, ("seeds", 0)),
        ({"seeds": [2**53]}, ("seeds", 0)),
        ({"sedes": [1]}, ("sedes",)),
    ],
)
def test_bad_fields_are_named(fields: dict[str, Any], location: tuple[str | int, ...]) -> None:
    assert refusal(**fields)["loc"] == location


def test_depth_has_a_bound() -> None:
    value: Any = 1
    for _ in range(600):
        value = [value]
    with pytest.raises(ValidationError):
        sweep(grid={"steps": [value]})


def test_the_hash_sees_what_members_are_and_nothing_else() -> None:
    first = sweep(grid={"steps": [1, 2]})
    assert sweep(grid={"algorithm.steps": [1, 2]}, seeds=[0], name="untitled").sha256() == first.sha256()
    assert sweep(base={**BASE, "seed": 0}, grid={"steps": [1, 2]}).sha256() == first.sha256()
    for other in ({"grid": {"steps": [2, 1]}}, {"grid": {"steps": [1, 2]}, "seeds": [1]}, {"grid": {"every": [1, 2]}}):
        assert sweep(**other).sha256() != first.sha256()
    assert sweep(grid={"steps": [1, 2]}, labels={"x": "y"}).sha256() != first.sha256()


def test_a_problem_is_asked_about_once() -> None:
    found = sweep(grid={"damping": [0.1, 0.2], "steps": [1, 2]}, seeds=[0, 1])
    assert [member.parameters["problem.damping"] for member in found.problems()] == [0.1, 0.2]


def test_the_schema_describes_base_and_grid() -> None:
    schema = Sweep.model_json_schema()
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid({"base": BASE, "grid": {"steps": [1, 2]}, "seeds": [0]})
    assert not validator.is_valid({"base": {"problem": {"kind": "cubic"}}})
    assert all(field.get("description") for field in schema["properties"].values())


def test_the_document_shows_a_sweep() -> None:
    document = (Path(__file__).parents[3] / "docs/sweeps.md").read_text()
    (text,) = re.findall(r"```json\n(.*?)```", document, re.DOTALL)
    shown = json.loads(text)
    example = json.loads((Path(__file__).parents[3] / "examples/sweeps/inner_steps.json").read_text())
    assert len(Sweep.model_validate(shown).members) == 24
    assert all(shown[part] == example[part] for part in ("name", "labels", "grid", "seeds"))
    assert shown["base"]["problem"] == example["base"]["problem"]


def test_objects_and_fields_in_them_are_combined() -> None:
    grid = {"optimizer": [{"kind": "adam"}, {"kind": "sgd"}], "optimizer.rate": [0.1, 0.01]}
    assert len(sweep(grid=grid).members) == 4


class TestPaths:
    DATA: dict[str, Any] = {"a": {"b": 1, "c": {"b": 2}}, "labels": {"x": "y"}, "l": [{"d": 1}]}  # noqa: RUF012

    def test_fields(self) -> None:
        assert list(fields(self.DATA)) == ["a", "a.b", "a.c", "a.c.b", "labels", "l"]

    @pytest.mark.parametrize(
        ("path", "found"), [("a", ["a"]), ("b", ["a.b"]), ("c.b", ["a.c.b"]), ("x", []), ("a.c", ["a.c"])]
    )
    def test_the_field_nearest_to_the_root_is_meant(self, path: str, found: list[str]) -> None:
        assert meant(path, list(fields(self.DATA))) == found

    def test_shortest(self) -> None:
        assert shortest("a.c.b", ["a.c.b", "a.d"]) == "b"
        assert shortest("a.c.b", ["a.c.b", "a.b"]) == "c.b"
        assert shortest("b", ["b", "a.b"]) == "b"
        assert shortest("a.b", ["b", "a.b"]) == "a.b"

    def test_setting_copies(self) -> None:
        before = json.dumps(self.DATA)
        assert placed(self.DATA, "a.c.b", 3, self.DATA)["a"] == {"b": 1, "c": {"b": 3}}
        assert placed({}, "a.b", 3, {"a": {"kind": "k"}}) == {"a": {"kind": "k", "b": 3}}
        assert json.dumps(self.DATA) == before


@pytest.mark.parametrize("path", ["algorithm.dynamics.momentum", "dynamics.momentum", "momentum"])
def test_a_field_can_be_one_that_an_object_of_the_grid_brings(path: str) -> None:
    grid = {path: [0.5, 0.7], "algorithm.dynamics": [{"kind": "heavy_ball"}, {"kind": "nesterov"}]}
    found = [member.experiment.canonical()["algorithm"]["dynamics"] for member in sweep(grid=grid).members]
    kinds = ("heavy_ball", "nesterov")
    assert [(each["kind"], each["momentum"]) for each in found] == [(kind, m) for m in (0.5, 0.7) for kind in kinds]


def test_a_field_in_an_object_of_the_grid_belongs_to_that_object_not_to_the_bases() -> None:
    momentum: dict[str, Any] = {"kind": "nested", "optimizer": {"kind": "momentum", "rate": 0.5, "momentum": 0.7}}
    base = {**BASE, "algorithm": momentum}
    (whole,) = sweep(base=base, grid={"algorithm": [{"kind": "nested"}]}).members
    (field,) = sweep(base=base, grid={"algorithm": [{"kind": "nested"}], "optimizer.rate": [0.25]}).members
    optimizers = [member.experiment.canonical()["algorithm"]["optimizer"] for member in (whole, field)]
    assert optimizers[0]["kind"] == optimizers[1]["kind"] == "adam"
    assert optimizers[1]["rate"] == 0.25
    (kept,) = sweep(base=base, grid={"optimizer.rate": [0.25]}).members
    found = kept.experiment.canonical()["algorithm"]["optimizer"]
    assert {name: found[name] for name in momentum["optimizer"]} == {**momentum["optimizer"], "rate": 0.25}
