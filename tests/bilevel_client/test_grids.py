"""Grids and seeds as one writes them on a command line."""

from typing import Any

import pytest

from bilevel_client import grids
from bilevel_client.specs import BadSpec


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,4,16", [1, 4, 16]),
        ("1..4", [1, 2, 3, 4]),
        ("-2..1,9", [-2, -1, 0, 1, 9]),
        ("3..3", [3]),
        ("0.5, 1e-3", [0.5, 0.001]),
        ("adam,sgd", ["adam", "sgd"]),
        ("true,null", [True, None]),
        ('"a,b",c', ["a,b", "c"]),
        ('"a\\",b",c', ['a",b', "c"]),
        ('{"kind":"reverse"},{"kind":"implicit","solver":{"kind":"cg"}}', None),
        ('[{"kind":"reverse"},{"kind":"unrolled"}]', [{"kind": "reverse"}, {"kind": "unrolled"}]),
        ("[64],[64,64]", [[64], [64, 64]]),
        ("[[64],[64,64]]", [[64], [64, 64]]),
        ("[1, 2]", [1, 2]),
        ("0..4.5", ["0..4.5"]),
        ("a=b", ["a=b"]),
    ],
)
def test_values(text: str, values: list[Any] | None) -> None:
    expected = values or [{"kind": "reverse"}, {"kind": "implicit", "solver": {"kind": "cg"}}]
    assert grids.axes([f"a.b={text}"]) == {"a.b": expected}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("steps", "field=value"),
        ("=1", "field=value"),
        ("steps=", "field=value"),
        ("steps=1,,2", "missing beside a comma"),
        ("steps=1,", "missing beside a comma"),
        ("steps=4..1", "goes up"),
        ("steps=0..1000", "at most 1000"),
        ("steps=0..999999999999999999", "at most 1000"),
        ("steps=0..600,0..600", "1202 values"),
    ],
)
def test_what_is_not_of_that_form(setting: str, message: str) -> None:
    with pytest.raises(BadSpec, match=message):
        grids.axes([setting])


def test_a_field_is_given_once() -> None:
    with pytest.raises(BadSpec, match="are given already"):
        grids.axes(["steps=1", "steps=2"])


def test_seeds() -> None:
    assert grids.integers("0..4") == [0, 1, 2, 3, 4]
    assert grids.integers("[3,1]") == [3, 1]
    for text in ("a", "1.5", "true", "0..x"):
        with pytest.raises(BadSpec, match="whole numbers"):
            grids.integers(text)


def test_an_experiment_becomes_the_base() -> None:
    spec = {"name": "n", "problem": {"kind": "quadratic"}}
    assert grids.sweep(spec, grid=["steps=1,2"], seeds="0..1", settings=["stop=3"]) == {
        "name": "n",
        "base": {"name": "n", "problem": {"kind": "quadratic"}, "stop": 3},
        "grid": {"steps": [1, 2]},
        "seeds": [0, 1],
    }
    assert grids.sweep({"problem": {}}) == {"base": {"problem": {}}}
    assert spec == {"name": "n", "problem": {"kind": "quadratic"}}


def test_the_command_line_adds_to_a_whole_sweep() -> None:
    whole = {"base": {"problem": {"kind": "quadratic"}}, "grid": {"steps": [1], "damping": [0.1]}, "seeds": [0]}
    assert grids.sweep(whole, grid=["steps=5,6"], name="n", settings=["problem.condition=2"]) == {
        "name": "n",
        "base": {"problem": {"kind": "quadratic", "condition": 2}},
        "grid": {"steps": [5, 6], "damping": [0.1]},
        "seeds": [0],
    }
    for bad in ({"base": 3}, {"base": {}, "grid": [1]}):
        with pytest.raises(BadSpec, match="a sweep is an object"):
            grids.sweep(bad)


def test_a_sweep_without_a_name_has_that_of_its_base() -> None:
    assert grids.sweep({"base": {"name": "n"}})["name"] == "n"
    assert grids.sweep({"name": "own", "base": {"name": "n"}})["name"] == "own"
    assert "name" not in grids.sweep({"base": {}})


def test_labels_join_those_of_the_file() -> None:
    whole = {"base": {"labels": {"a": "1"}}, "labels": {"b": "2", "c": "3"}}
    assert grids.sweep(whole, labels={"c": "4", "d": "5"})["labels"] == {"b": "2", "c": "4", "d": "5"}
    assert grids.sweep({"labels": {"a": "1"}}, labels={"b": "2"})["labels"] == {"b": "2"}
    assert "labels" not in grids.sweep({"labels": {"a": "1"}})


def test_a_seed_is_not_set_beside_seeds() -> None:
    spec = {"problem": {"kind": "quadratic"}}
    assert grids.sweep(spec, settings=["seed=3"])["base"]["seed"] == 3
    for content, seeds in ((spec, "0..1"), ({"base": spec, "seeds": [0]}, None), ({"base": spec, "seeds": [0]}, "1")):
        with pytest.raises(BadSpec, match="`seed=3`: the sweep has seeds of its own: use --seeds"):
            grids.sweep(content, settings=["seed=3"], seeds=seeds)
