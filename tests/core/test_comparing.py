"""Which member is the best, and means over seeds."""

import math
import statistics
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.comparing import Score, best, best_cell, cells, measured, score, spread
from core.spec import Experiment
from core.spec.experiment import Evaluation
from core.spec.plugins import PluginProblem
from core.spec.yardstick import yardstick

NAN, INFINITY = math.nan, math.inf
SPEC: dict[str, Any] = {"problem": {"kind": "quadratic"}}
FINITE = st.floats(allow_nan=False, allow_infinity=False)


class Weighed(PluginProblem):
    """Its validation metric does not depend on where it starts."""

    build = "nowhere:nothing"
    kind: Literal["weighed"] = "weighed"
    size: int = 3
    start: float = 0.0

    def inner_variables(self) -> int:
        return 1

    def outer_variables(self) -> int:
        return 1

    def yardstick(self) -> dict[str, Any]:
        return {"size": self.size}


def scored(member: int, validation: float, better: Any = "higher", metric: str = "accuracy", **test: float) -> Score:
    return Score(member, {"steps": member // 2, "seed": member % 2}, metric, better, 10, validation, test, "one")


@pytest.mark.parametrize(
    ("values", "better", "expected"),
    [
        ([0.5, 0.9, 0.7], "higher", 1),
        ([0.5, 0.9, 0.7], "lower", 0),
        ([0.9, 0.9], "higher", 0),
        ([0.9, 0.9], "lower", 0),
        ([NAN, 0.1], "higher", 1),
        ([NAN, 0.1], "lower", 1),
        ([INFINITY, 0.1], "higher", 1),
        ([-INFINITY, 0.1], "lower", 1),
        ([NAN, INFINITY], "lower", None),
        ([], "lower", None),
    ],
)
def test_the_best(values: list[float], better: Any, expected: int | None) -> None:
    found = best(scored(number, value, better) for number, value in enumerate(values))
    assert (found.member if found else None) == expected


def test_different_metrics_cannot_be_compared() -> None:
    assert best([scored(0, 0.5), scored(1, 0.4, "lower", "loss")]) is None
    assert best([scored(0, 0.5), scored(1, 0.4, "lower", "accuracy")]) is None
    assert best([scored(0, 0.5), scored(1, NAN, "lower", "loss")]) == scored(0, 0.5)


def member(problem: dict[str, Any], **parts: Any) -> Score:
    spec = Experiment.model_validate({"problem": problem, **parts})
    return scored(0, 0.5)._replace(yardstick=measured(spec.canonical()))


TABLE = {"kind": "regularization"}
OWN = {"kind": "table", "name": "own", "labels": 2}
EPISODES = {"kind": "hyper_representation"}
LEARNED = {"kind": "learned_optimizer"}
PATCHES = {"kind": "linear_representation"}


@pytest.mark.parametrize(
    ("one", "other", "comparable"),
    [
        (TABLE | {"dataset": {"kind": "a9a"}}, TABLE | {"dataset": {"kind": "20news"}}, False),
        (TABLE | {"dataset": OWN}, TABLE | {"dataset": OWN | {"name": "other"}}, False),
        (TABLE | {"validation": 20}, TABLE | {"validation": 40}, False),
        (TABLE | {"test": 20}, TABLE | {"test": 40}, False),
        (TABLE | {"folds": 5}, TABLE | {"folds": 10}, False),
        (TABLE | {"folds": 5}, TABLE | {"folds": 5, "train": 50}, False),
        (TABLE, TABLE | {"validation": 110}, True),  # a quarter, its default
        (TABLE, TABLE | {"train": 50}, True),
        (TABLE, TABLE | {"initial_strength": 1.0, "strength": "feature"}, True),
        (
            TABLE | {"dataset": {"kind": "wine"}, "loss": "squared"},
            TABLE | {"dataset": {"kind": "wine"}, "loss": "cross_entropy"},
            False,
        ),
        ({"kind": "hyper_cleaning"}, {"kind": "hyper_cleaning", "validation": 200}, False),
        ({"kind": "hyper_cleaning"}, {"kind": "hyper_cleaning", "l2": 0.1, "standardize": False}, True),
        ({"kind": "learned_data"}, {"kind": "learned_data", "examples_per_class": 2}, True),
        ({"kind": "quadratic"}, {"kind": "random_quadratics"}, False),
        ({"kind": "quadratic"}, {"kind": "quadratic", "damping": 0.5}, False),
        ({"kind": "random_quadratics"}, {"kind": "random_quadratics", "initial": 1.0}, True),
        (EPISODES, EPISODES | {"dataset": {"split": "alphabets"}}, False),
        (EPISODES, EPISODES | {"dataset": {"rotations": False}}, False),
        (EPISODES, EPISODES | {"dataset": {"reflections": True}}, True),
        (EPISODES, EPISODES | {"way": 3}, False),
        (EPISODES, EPISODES | {"way_from": 3}, False),
        (EPISODES, EPISODES | {"shot": 2}, False),
        (EPISODES, EPISODES | {"query": 5}, False),
        (EPISODES, EPISODES | {"training_way": 10, "training_shot": 2, "meta_batch": 4, "centred": True}, True),
        (EPISODES, {"kind": "initialization"}, True),
        (EPISODES, {"kind": "initialization", "shot": 5}, False),
        (EPISODES, {"kind": "multiclass_transfer"}, True),
        (LEARNED, LEARNED | {"tasks": {"kind": "quadratics", "dimension": 5}}, False),
        (LEARNED, LEARNED | {"unrolls": 2}, False),
        (LEARNED, LEARNED | {"optimizer": {"kind": "mlp"}, "meta_batch": 4}, True),
        (PATCHES, PATCHES | {"classes": 50}, False),
        (PATCHES, PATCHES | {"strength": 0.1}, True),
    ],
)
def test_what_decides_what_is_judged_cannot_be_compared(
    one: dict[str, Any], other: dict[str, Any], comparable: bool
) -> None:
    assert (best([member(one), member(other)]) is not None) == comparable


@pytest.mark.parametrize(
    ("problem", "part", "one", "other", "comparable"),
    [
        (EPISODES, "evaluation", {"episodes": 100}, {"episodes": 600}, False),
        (EPISODES, "evaluation", {"every": 10}, {"every": 20}, True),
        (TABLE, "evaluation", {"episodes": 100}, {"episodes": 600}, True),
        (LEARNED, "algorithm", {"steps": 5}, {"steps": 10}, False),
        (TABLE, "algorithm", {"steps": 5}, {"steps": 10}, True),
        (TABLE, "algorithm", {"kind": "nested"}, {"kind": "real_time"}, True),
    ],
)
def test_other_parts_of_the_spec(
    problem: dict[str, Any], part: str, one: dict[str, Any], other: dict[str, Any], comparable: bool
) -> None:
    assert (best([member(problem, **{part: each}) for each in (one, other)]) is not None) == comparable


def test_a_problem_of_a_package_is_compared_by_what_it_says() -> None:
    whole, own = Weighed(), Weighed(start=2.0)
    evaluation = Evaluation()
    assert yardstick(whole, evaluation, steps=1) == {"kind": "weighed", "size": 3}
    assert yardstick(own, evaluation, steps=1) == yardstick(whole, evaluation, steps=1)
    assert PluginProblem.yardstick(own) == {"kind": "weighed", "size": 3, "start": 2.0}


def test_a_spec_that_is_not_known_is_taken_whole() -> None:
    spec = {"problem": {"kind": "uninstalled", "x": 1}, "algorithm": {"steps": 1}}
    assert measured(spec) == measured(spec | {"algorithm": {"steps": 2}})
    assert measured(spec) != measured(spec | {"problem": {"kind": "uninstalled", "x": 2}})


def test_cells_are_the_members_without_their_seeds() -> None:
    members = [{"a": a, "b": {"kind": b}, "seed": seed} for a in (1, True) for b in "xy" for seed in range(3)]
    scores = [
        Score(number, members[number], "loss", "lower", 5, float(number), {"loss": 10.0 * number}, "one")
        for number in (0, 1, 2, 3, 7)
    ]
    found = cells(members, reversed(scores))
    assert [dict(cell.parameters) for cell in found] == [
        {"a": a, "b": {"kind": b}} for a in (1, True) for b in "xy"
    ]  # 1 == True, but they are two cells
    assert [cell.members for cell in found] == [(0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11)]
    assert [cell.succeeded for cell in found] == [3, 1, 1, 0]
    assert found[0].validation == (1.0, 1.0)
    assert found[0].test == {"loss": (10.0, 10.0)}
    assert found[0].metric == "loss"
    assert found[1].validation == (3.0, None)
    assert found[3].validation is None
    assert found[3].metric is None
    assert found[3].test == {}


@settings(deadline=None, derandomize=True)
@given(st.lists(FINITE, min_size=2, max_size=10))
def test_the_deviation_is_that_of_a_sample(values: list[float]) -> None:
    found = spread(values)
    assert found.deviation is not None
    assert found.deviation >= 0
    assert min(values) <= found.mean <= max(values)
    assert found.mean == statistics.mean(values)
    if max(map(abs, values)) < 1e100:
        squares = math.fsum((value - found.mean) ** 2 for value in values)
        assert found.deviation == pytest.approx(math.sqrt(squares / (len(values) - 1)), rel=1e-6, abs=1e-100)


@pytest.mark.parametrize("values", [[NAN, 1.0], [INFINITY, 1.0], [INFINITY, -INFINITY]])
def test_what_is_not_finite_is_not_hidden(values: list[float]) -> None:
    found = spread(values)
    assert not math.isfinite(found.mean)
    assert found.deviation is not None
    assert math.isnan(found.deviation)
    assert spread([NAN]).deviation is None


def test_a_score_is_read_from_a_result() -> None:
    selection = {"metric": "accuracy", "better": "higher"}
    one_best = {"hyperiteration": 3, "validation": {"accuracy": {"mean": 0.5}, "loss": {"mean": "NaN"}}}
    found = score(4, {"seed": 1}, SPEC, selection, one_best, {"accuracy": {"mean": 0.25}, "loss": {"mean": "Infinity"}})
    test = {"accuracy": 0.25, "loss": INFINITY}
    assert found == Score(4, {"seed": 1}, "accuracy", "higher", 3, 0.5, test, measured(SPEC))
    assert score(0, {}, SPEC, None, one_best, None) is None
    assert score(0, {}, SPEC, selection, None, None) is None
    assert score(0, {}, SPEC, selection, {"hyperiteration": 0}, {}) is None
    assert score(0, {}, SPEC, {"metric": "f1", "better": "higher"}, one_best, {}) is None


@pytest.mark.parametrize(
    ("validation", "expected"),
    [
        ([0.9, 0.1, 0.6, 0.6], 1),
        ([0.5, 0.5, 0.5, 0.5], 0),
        ([NAN, 0.9, 0.1, 0.1], 1),
        ([0.9, None, 0.1, 0.1], 1),
        ([0.9, None, 0.1, None], None),
        ([None, None, None, None], None),
        ([0.9, INFINITY, None, 0.9], None),
    ],
)
def test_the_best_cell_has_the_best_mean_of_all_its_seeds(validation: list[float | None], expected: int | None) -> None:
    scores = [scored(member, value) for member, value in enumerate(validation) if value is not None]
    groups = cells([{"steps": member // 2, "seed": member % 2} for member in range(4)], scores)
    found = best_cell(groups, scores)
    assert found == (None if expected is None else groups[expected])


def test_there_is_no_best_cell_of_single_seeds_or_of_different_data() -> None:
    scores = [scored(member, 0.5)._replace(parameters={"steps": member, "seed": 0}) for member in range(2)]
    assert best_cell(cells([each.parameters for each in scores], scores), scores) is None
    members = [{"kind": kind, "seed": seed} for kind in "xy" for seed in range(2)]
    scores = [
        scored(member, 0.5)._replace(parameters=parameters, yardstick=parameters["kind"])
        for member, parameters in enumerate(members)
    ]
    assert best_cell(cells(members, scores), scores) is None
    assert best_cell(cells(members[:2], scores[:2]), scores[:2]) is not None


def test_values_are_over_the_members_that_have_them() -> None:
    members = [{"steps": member // 3, "seed": member % 3} for member in range(6)]
    values: dict[int, dict[str, float]] = {0: {"a": 1.0, "b": 5.0}, 1: {"a": 3.0}, 2: {}, 4: {"b": NAN}}
    first, second = cells(members, [], values)
    assert first.values == {"a": (2.0, 2**0.5), "b": (5.0, None)}
    assert list(second.values) == ["b"]
    assert cells(members, [])[0].values == {}


def test_what_the_code_of_a_package_cannot_say_is_taken_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("core.comparing.yardstick", broken)
    spec = Experiment.model_validate({"problem": {"kind": "quadratic"}}).canonical()
    other = Experiment.model_validate({"problem": {"kind": "quadratic", "condition": 7}}).canonical()
    assert measured(spec) == measured({**spec, "algorithm": None})
    assert measured(spec) != measured(other)


def test_members_on_other_data_under_one_name_have_no_best() -> None:
    validation = {"validation": {"loss": {"mean": 0.5}}, "hyperiteration": 3}

    def reached(member: int, digest: str | None) -> Score:
        data = None if digest is None else {"kind": "table", "sha256": digest}
        found = score(member, {"seed": member}, SPEC, {"metric": "loss", "better": "lower"}, validation, {}, data)
        assert found is not None
        return found

    assert best([reached(0, "a"), reached(1, "a")]) is not None
    assert best([reached(0, None), reached(1, None)]) is not None
    assert best([reached(0, "a"), reached(1, "b")]) is None
