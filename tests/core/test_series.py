import math

import pytest
import torch
from torch import Tensor

from core import series as module
from core.errors import Diverged
from core.recording import MemoryRecorder
from core.series import Series, outer_series


def values(k: int, norm: float = 1.0) -> dict[str, Tensor]:
    return {
        "outer_objective": torch.tensor(float(k), dtype=torch.float64),
        "hypergradient_norm": torch.tensor(norm),
        "solver_iterations": torch.tensor(k),
    }


def test_values_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_SECONDS", 1e9)
    recorder = MemoryRecorder()
    series = Series(recorder)
    for k in range(5):
        series.start()
        series.add(k, values(k), {"rate": torch.tensor(0.5)})
        assert recorder.curves == {}
    assert series.drain() > 0
    assert recorder.curves["outer_objective"] == {k: float(k) for k in range(5)}
    assert recorder.curves["solver_iterations"] == {k: float(k) for k in range(5)}
    assert recorder.curves["outer/rate"] == dict.fromkeys(range(5), 0.5)
    assert len(set(recorder.curves["seconds"].values())) == 1
    assert series.drain() == 0


def test_values_that_have_waited_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_SECONDS", 0.0)
    recorder = MemoryRecorder()
    series = Series(recorder)
    series.start()
    series.add(7, values(7), {})
    assert recorder.curves["outer_objective"] == {7: 7.0}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_first_bad_hyperiteration_of_a_batch_is_the_last_point(bad: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_SECONDS", 1e9)
    recorder = MemoryRecorder()
    series = Series(recorder)
    for k in range(6):
        series.start()
        series.add(k, values(k, bad if k >= 3 else 1.0), {})
    with pytest.raises(Diverged) as caught:
        series.drain()
    assert caught.value.hyperiteration == 3
    assert list(recorder.curves["outer_objective"]) == [0, 1, 2, 3]
    assert not math.isfinite(recorder.curves["hypergradient_norm"][3])


@pytest.mark.parametrize(
    ("k", "bad", "advice"),
    [
        (0, {"inner_objective_end": math.inf, "outer_objective": math.nan}, "lower the rate of the inner dynamics."),
        (3, {"inner_objective_end": math.inf}, "lower the rate of the inner dynamics or of the outer optimizer."),
        (0, {"outer_objective": math.inf}, "lower the rate of the inner dynamics."),
        (0, {"outer_objective": math.nan}, "look in the outer objective for what is no number"),
        (3, {"outer_objective": math.nan}, "look in the outer objective for what is no number"),
        (0, {}, "both objectives are finite: look in them for what has no derivative"),
    ],
)
def test_the_advice_fits_what_is_not_finite(
    k: int, bad: dict[str, float], advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_SECONDS", math.inf)
    found = {"outer_objective": 1.0, "inner_objective_end": 0.5, "hypergradient_norm": math.nan, **bad}
    series = Series(MemoryRecorder())
    series.add(k, {name: torch.tensor(value) for name, value in found.items()}, {})
    with pytest.raises(Diverged) as caught:
        series.drain()
    assert advice in str(caught.value)
    assert ("lower the rate" in str(caught.value)) is ("lower the rate" in advice or not bad)


def test_algorithms_without_inner_steps_say_nothing_of_w_t(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_SECONDS", math.inf)
    series = Series(MemoryRecorder())
    series.add(0, values(0, math.nan), {})
    with pytest.raises(Diverged, match=r"\(outer objective 0\): lower the rate"):
        series.drain()


def test_outer_variables_are_series_of_their_own_while_they_are_few() -> None:
    named = outer_series({"rate": torch.tensor(1.0), "strength": torch.arange(32.0), "weight": torch.arange(33.0)})
    assert float(named["outer/rate"]) == 1
    assert float(named["outer/strength/31"]) == 31
    assert {name: float(value) for name, value in named.items() if "weight" in name} == {
        "outer/weight/min": 0,
        "outer/weight/mean": 16,
        "outer/weight/max": 32,
    }
    assert len(named) == 1 + 32 + 3
