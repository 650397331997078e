"""What the code of somebody's problem gives is held to what `Instance` says; faults are named, with the remedy."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from core.bilevel.dynamics import full_batch
from core.bilevel.finite_sum import FiniteSum
from core.bilevel.problem import Problem
from core.build import build_instance
from core.errors import ProblemInvalid
from core.inner import build_inner
from core.problems.inner import Inner
from core.problems.instance import LOWEST_LOSS, Context, Evaluation, Instance, Selection, metric
from core.spec.algorithms import Nested
from core.spec.plugins import PluginProblem

CONTEXT = Context(0, torch.float64, torch.device("cpu"), Path("nowhere"), 1)
Change = Callable[[Instance], Any]


class Mine(PluginProblem):
    build = "mine.problem:build"
    kind: Literal["mine"] = "mine"

    def inner_variables(self) -> int:
        return 2

    def outer_variables(self) -> int:
        return 2


class Summed(Mine):
    def finite_sum(self) -> bool:
        return True


def distance(w: Any, lam: Any) -> Tensor:
    return (w - lam["x"]).square().sum()


def init(lam: Any) -> Tensor:
    return torch.zeros_like(lam["x"])


def right(inner: Inner) -> Instance:
    stated = Problem(distance, distance, init)
    dynamics = inner.dynamics(full_batch(distance), init)
    scores = {"loss": metric(torch.ones(3))}
    return Instance(
        {"x": torch.ones(2, dtype=torch.float64)},
        lambda k: (stated, dynamics),
        lambda lam, w=None: Evaluation(scores, scores),
        LOWEST_LOSS,
        lambda lam: {"x": lam["x"]},
        artifacts=lambda lam: {"more": {"x": lam["x"]}},
    )


def given(change: Change, monkeypatch: pytest.MonkeyPatch, spec: PluginProblem | None = None) -> Instance:
    monkeypatch.setattr("core.build.code_of", lambda spec: lambda spec, inner, context: change(right(inner)))
    return build_instance(spec or Mine(), build_inner(Nested()), CONTEXT)  # type: ignore[arg-type]  # of no union


def started(x: Any) -> Change:
    return lambda made: replace(made, initial={"x": x})


def stated(**changes: Any) -> Change:
    def change(made: Instance) -> Instance:
        problem, dynamics = made.at(0)
        return replace(made, at=lambda k: (replace(problem, **changes), dynamics))

    return change


def evaluated(found: Any) -> Change:
    return lambda made: replace(made, evaluate=lambda lam, w=None: found)


def summed(inner: Any) -> Change:
    return lambda made: replace(made, finite_sum=FiniteSum(inner, lambda w, lam, rows: distance(w, lam), 2, 2, init))


def each(w: Any, lam: Any, *rows: Any) -> Tensor:
    return (w - lam["x"]).square()


SCORE = metric(torch.ones(3))
AT_ONCE: list[tuple[Change, list[str]]] = [
    (lambda made: None, ["gives NoneType", "return core.problems.instance.Instance"]),
    (lambda made: replace(made, initial={}), ["no outer variables"]),
    (started(1.0), ["float as initial/x", "torch.Tensor"]),
    (started(torch.ones(2, dtype=torch.int64)), ["initial/x of torch.int64", "floating-point", "context.place"]),
    (started(torch.ones(2)), ["initial/x of torch.float32 on cpu", "in torch.float64", "context.place"]),
    (lambda made: replace(made, initial=torch.ones(2)), ["initial of torch.float32"]),
    (lambda made: replace(made, at=lambda k: made.at(k)[0]), ["Problem as at(0)", "inner.dynamics"]),
    (stated(outer=each), ["shape [2] as outer(w, lam)", ".mean() or .sum()"]),
    (stated(inner=each), ["shape [2] as inner(w, lam)", ".mean() or .sum()"]),
    (stated(outer=lambda w, lam: 1.0), ["float as outer(w, lam)", "a tensor without dimensions"]),
    (stated(embed=lambda lam: {"x": lam["x"][:1]}, inner=each), ["shape [1] as inner(w, lam)"]),
    (lambda made: replace(made, natural=lambda lam: {"x": 1.0}), ["float as 'x' of natural(lam)", "torch.Tensor"]),
    (lambda made: replace(made, natural=lambda lam: lam["x"]), ["Tensor as natural(lam)", "a dict of tensors"]),
    (lambda made: replace(made, selection="loss"), ["str as selection", "Selection(metric, better)"]),
]


@pytest.mark.parametrize(("change", "parts"), AT_ONCE)
def test_another_instance_than_was_agreed_on_is_refused_with_the_remedy(
    change: Change, parts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ProblemInvalid) as caught:
        given(change, monkeypatch)
    assert all(part in str(caught.value) for part in ["mine.problem:build", *parts]), caught.value


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda made: made, ["NoneType as finite_sum", "Summed.finite_sum() promises", "FiniteSum(...)"]),
        (summed(each), ["shape [2] as finite_sum.inner(w, lam, rows)", ".mean() or .sum()"]),
    ],
)
def test_a_finite_sum_that_its_class_promises_is_held_to_it(
    change: Change, parts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ProblemInvalid) as caught:
        given(change, monkeypatch, Summed())
    assert all(part in str(caught.value) for part in ["mine.problem:build", *parts]), caught.value


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (evaluated(None), ["NoneType as evaluate(lam)", "Evaluation(validation, test)"]),
        (evaluated(Evaluation({"loss": 0.5}, {})), ["float as validation metric `loss`", "metric(values)"]),
        (evaluated(Evaluation({"loss": SCORE}, {"loss": 1})), ["int as test metric `loss`", "metric(values)"]),
        (evaluated(Evaluation({"loss": SCORE}, None)), ["NoneType as test of evaluate(lam)"]),
        (
            lambda made: replace(made, selection=Selection("f1", "higher")),
            ["selects by the validation metric `f1`", "evaluate gives `loss`", "in selection"],
        ),
    ],
)
def test_another_evaluation_is_refused_with_the_remedy(
    change: Change, parts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = given(change, monkeypatch)
    for more in ((), (torch.zeros(2),)):
        with pytest.raises(ProblemInvalid) as caught:
            made.evaluate(made.initial, *more)
        assert all(part in str(caught.value) for part in ["mine.problem:build", *parts]), caught.value


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"more": {"x": [1.0]}}, "list as 'x' of the artifact more"),
        ({"x": torch.ones(1)}, "Tensor as the artifact x: return a dict of tensors"),
        (None, "NoneType as artifacts"),
    ],
)
def test_artifacts_are_tensors(files: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = given(lambda made: replace(made, artifacts=lambda lam: files), monkeypatch)
    with pytest.raises(ProblemInvalid, match=said):
        made.artifacts(made.initial)


def test_what_is_right_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    made = given(summed(lambda w, lam, rows: distance(w, lam)), monkeypatch, Summed())
    assert made.evaluate(made.initial).validation["loss"].mean == 1
    assert made.artifacts(made.initial)["more"]["x"] is made.initial["x"]  # type: ignore[index, call-overload]
