"""Plans from specs alone: orderings that the equations say, remedies that fit, and memory against a real run."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from core.planning import DEVICES, Plan, plan
from core.planning.methods import walks_in_dual
from core.settings import prepare_process
from core.spec import KINDS, Experiment, kind_of
from core.spec.algorithms import Nested

MLP = {"kind": "regularization", "dataset": {"kind": "digits"}, "model": {"kind": "mlp"}, "strength": "layer"}
CLEANING = {"kind": "hyper_cleaning"}
FEW_SHOT = {"kind": "hyper_representation"}


def planned(problem: dict[str, Any], *, limit: int | None = None, **algorithm: Any) -> Plan:
    return plan(experiment(problem, limit=limit, **algorithm))


def experiment(problem: dict[str, Any], *, limit: int | None = None, **algorithm: Any) -> Experiment:
    resources = {} if limit is None else {"memory_limit": limit}
    return Experiment.model_validate({"problem": problem, "algorithm": algorithm, "resources": resources})


def peak(problem: dict[str, Any], **algorithm: Any) -> float:
    found = planned(problem, **algorithm).memory
    assert found is not None
    return found.peak_mb


def seconds(problem: dict[str, Any], **algorithm: Any) -> float:
    found = planned(problem, **algorithm).time
    assert found is not None
    return found.hyperiteration_seconds


class TestOrderings:
    @pytest.mark.parametrize("method", ["unrolled", "reverse", "random_forward", "implicit"])
    @pytest.mark.parametrize("problem", [CLEANING, FEW_SHOT | {"l2": 0.1}, MLP], ids=["cleaning", "few-shot", "mlp"])
    def test_time_grows_with_the_inner_steps_and_memory_never_falls(self, problem: dict[str, Any], method: str) -> None:
        short, long = ({"steps": steps, "hypergradient": {"kind": method}} for steps in (100, 1000))
        assert seconds(problem, **short) < seconds(problem, **long)
        assert peak(problem, **short) <= peak(problem, **long)

    def test_what_is_kept_orders_the_methods(self) -> None:
        kept = [
            {"kind": "unrolled"},
            {"kind": "reverse"},
            {"kind": "reverse", "segment": "auto"},
            {"kind": "reverse", "snapshots": 5},
        ]
        peaks = [peak(MLP, steps=2000, hypergradient=each) for each in kept]
        assert peaks == sorted(peaks, reverse=True)
        assert len(set(peaks)) == len(peaks)
        times = [seconds(MLP, steps=2000, hypergradient=each) for each in kept[1:]]
        assert times == sorted(times)

    def test_forward_mode_is_flat_in_the_inner_steps(self) -> None:
        forward = {"kind": "forward"}
        assert peak(MLP, steps=10, hypergradient=forward) == peak(MLP, steps=100_000, hypergradient=forward)

    def test_few_tangents_at_a_time_take_less_memory_and_more_time(self) -> None:
        table = {"kind": "regularization", "dataset": {"kind": "20news"}, "strength": "feature", "train": 500}
        together, apart = ({"kind": "forward", "chunk": chunk} for chunk in (2000, 10))
        assert peak(table, hypergradient=together) > peak(table, hypergradient=apart)
        assert seconds(table, hypergradient=together) < seconds(table, hypergradient=apart)

    def test_double_precision_takes_more(self) -> None:
        single = experiment(MLP, steps=1000)
        double = single.model_copy(update={"resources": single.resources.model_copy(update={"precision": "float64"})})
        first, second = plan(single), plan(double)
        assert first.memory
        assert second.memory
        assert second.memory.peak_mb > first.memory.peak_mb


@pytest.mark.parametrize("section", ["problem", "algorithm", "dynamics", "hypergradient", "solver"])
def test_every_kind_has_a_plan(section: str) -> None:
    modelled = 0
    for member in KINDS[section]:
        kind = {"kind": kind_of(member)}
        body: dict[str, Any] = {
            "problem": {"problem": kind},
            "algorithm": {"problem": MLP, "algorithm": kind},
            "dynamics": {"problem": MLP, "algorithm": {"dynamics": kind, "hypergradient": {"kind": "implicit"}}},
            "hypergradient": {"problem": {"kind": "quadratic"}, "algorithm": {"hypergradient": kind}},
            "solver": {
                "problem": {"kind": "regularization", "model": {"kind": "linear", "bias": False}},
                "algorithm": {"hypergradient": {"kind": "implicit", "solver": kind}},
            },
        }[section]
        if kind["kind"] == "stochastic":
            body["algorithm"]["dynamics"] = {"kind": "gradient_descent", "batch": 64}
        if kind["kind"] == "reversible":
            body = {"problem": MLP, "algorithm": {"hypergradient": kind, "dynamics": {"kind": "heavy_ball"}}}
        found = plan(Experiment.model_validate(body))
        if found.memory is None or found.time is None:
            assert "Not modelled" in found.verdict
            continue
        modelled += 1
        assert found.memory.peak_mb == pytest.approx(sum(part.mb for part in found.memory.parts), abs=0.5)
        assert found.time.hyperiteration_seconds == pytest.approx(sum(part.seconds for part in found.time.parts))
        assert found.ways[0].memory_mb == found.memory.peak_mb
        assert found.assumptions
    assert modelled >= len(KINDS[section]) - 1  # but for kinds that installed packages add


class TestVerdict:
    def test_without_a_limit_nothing_is_judged(self) -> None:
        found = planned({"kind": "quadratic"})
        assert found.memory
        assert found.memory.fits is None
        assert found.remedy is None

    @pytest.mark.parametrize(
        ("problem", "algorithm", "limit"),
        [
            (CLEANING, {"steps": 50_000, "hypergradient": {"kind": "unrolled"}}, 800),
            (MLP, {"steps": 50_000, "hypergradient": {"kind": "reverse"}}, 500),
            (FEW_SHOT, {"steps": 4}, 900),
        ],
    )
    def test_the_remedy_fits_when_planned_again(
        self, problem: dict[str, Any], algorithm: dict[str, Any], limit: int
    ) -> None:
        found = planned(problem, limit=limit, **algorithm)
        assert found.memory
        assert found.memory.fits is False
        assert found.remedy
        assert found.remedy.same
        assert found.remedy.name in found.verdict
        spec = experiment(problem, limit=limit, **algorithm).model_dump(mode="json")
        for field, value in found.remedy.set.items():
            section, name = field.split(".")
            spec[section][name] = value
        again = plan(Experiment.model_validate(spec))
        assert again.memory
        assert again.memory.fits
        assert again.memory.peak_mb == found.remedy.memory_mb <= limit

    def test_where_nothing_fits_it_says_so(self) -> None:
        found = planned({"kind": "quadratic"}, limit=128)
        assert found.remedy is None
        assert "No other way" in found.verdict

    def test_a_time_limit_is_judged(self) -> None:
        spec = experiment(CLEANING, steps=1000, hyperiterations=100_000)
        hurried = spec.model_copy(update={"resources": spec.resources.model_copy(update={"time_limit": 60.0})})
        found = plan(hurried)
        assert found.time
        assert found.time.fits is False
        assert "longer than the time limit" in found.verdict

    def test_an_impossible_way_says_why(self) -> None:
        reasons = {way.name: way.reason for way in planned(FEW_SHOT).ways}
        assert reasons["as in the spec"] is None
        assert "closed form" in str(reasons["exact"])


def test_a_slower_device_takes_longer() -> None:
    spec = experiment(CLEANING)
    cpu = DEVICES["cpu"]
    slow = cpu.model_copy(update={"operator_seconds": 10 * cpu.operator_seconds})
    quick, late = plan(spec, cpu).time, plan(spec, slow).time
    assert quick
    assert late
    assert 1.5 < late.hyperiteration_seconds / quick.hyperiteration_seconds <= 10


def test_measurements_of_the_spec_are_reckoned_with() -> None:
    spec = experiment(MLP)
    body = spec.model_dump(mode="json")
    body["diagnostics"] = {"truncation": {"every": 1}, "contraction": {"every": 1}, "comparison": {"every": 1}}
    plain, measured = plan(spec).time, plan(Experiment.model_validate(body)).time
    assert plain
    assert measured
    assert measured.hyperiteration_seconds > 3 * plain.hyperiteration_seconds


@pytest.mark.parametrize("segment", [None, 5])
@pytest.mark.parametrize("dynamics", ["gradient_descent", "heavy_ball"])
def test_the_walk_of_the_heads_is_the_one_that_is_built(segment: int | None, dynamics: str) -> None:
    from core import build

    spec = experiment(
        FEW_SHOT, steps=10, dynamics={"kind": dynamics}, hypergradient={"kind": "reverse", "segment": segment}
    )
    assert isinstance(spec.algorithm, Nested)
    assert walks_in_dual(spec, spec.algorithm) == build.walks_in_dual(spec)


@pytest.mark.parametrize(
    ("problem", "algorithm"),
    [
        (CLEANING | {"final_steps": 1}, {"steps": 2000, "hypergradient": {"kind": "unrolled"}}),
        (MLP | {"model": {"kind": "mlp", "hidden": [256]}}, {"steps": 100, "hypergradient": {"kind": "unrolled"}}),
        (MLP | {"model": {"kind": "mlp", "hidden": [256]}}, {"steps": 20, "hypergradient": {"kind": "forward"}}),
    ],
    ids=["cleaning", "mlp", "forward"],
)
def test_memory_is_what_a_run_takes(problem: dict[str, Any], algorithm: dict[str, Any]) -> None:
    spec = experiment(problem, hyperiterations=2, **algorithm)
    environment = dict(os.environ)
    prepare_process(1, environment)
    command = [sys.executable, "-m", "benchmarks.measured_run", spec.model_dump_json()]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)
    assert not answer.returncode, answer.stderr
    measured = json.loads(answer.stdout.splitlines()[-1])["peak_mb"]
    found = plan(spec).memory
    assert found
    assert found.peak_mb == pytest.approx(measured, rel=0.3)
    loaded = DEVICES["cpu"].process_mb  # what the model adds to it has to be right as well, where it is much
    assert found.peak_mb - loaded == pytest.approx(measured - loaded, rel=0.5, abs=60)
