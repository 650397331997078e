"""Plans from specs alone: orderings that the equations say, remedies that fit, and memory against a real run."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from core.build import build
from core.planning import DEVICES, Plan, methods, plan
from core.settings import prepare_process
from core.spec import KINDS, Experiment, kind_of
from core.spec.sizes import outer_variables

MLP = {"kind": "regularization", "dataset": {"kind": "digits"}, "model": {"kind": "mlp"}, "strength": "layer"}
CLEANING = {"kind": "hyper_cleaning"}
FEW_SHOT = {"kind": "hyper_representation"}
MAML = {"kind": "initialization", "meta_batch": 8}
FIVE = {"steps": 5, "hypergradient": {"kind": "unrolled"}}


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

    def test_averages_take_two_more_copies_of_the_outer_variables(self) -> None:
        table = {"kind": "regularization", "dataset": {"kind": "20news"}, "strength": "feature", "train": 500}
        outer = outer_variables(experiment(table).problem, experiment(table).algorithm)
        more = peak(table, averaging=0.9) - peak(table)
        assert more == pytest.approx(2 * 4 * outer / 2**20, abs=0.11)

    def test_larger_episodes_in_meta_training_take_more(self) -> None:
        wider, fewer = FEW_SHOT | {"training_way": 20}, FEW_SHOT | {"training_query": 1}
        assert peak(fewer) < peak(FEW_SHOT) < peak(wider)
        assert seconds(fewer) < seconds(FEW_SHOT) < seconds(wider)

    def test_cross_fitting_takes_more_heads_but_no_more_passes(self) -> None:
        problem = FEW_SHOT | {"meta_batch": 128, "training_query": 4}
        crossed = problem | {"cross_fitting": True}
        assert peak(problem, steps=256) < peak(crossed, steps=256) < 1.5 * peak(problem, steps=256)
        assert seconds(problem, steps=256) < seconds(crossed, steps=256) < 2 * seconds(problem, steps=256)

    def test_averaging_reflections_doubles_the_passes_of_evaluations(self) -> None:
        both, plain = (experiment(FEW_SHOT | {"average_reflections": on}) for on in (True, False))
        first, second = (plan(spec).time for spec in (both, plain))
        assert first
        assert second
        assert 1.5 * second.evaluation_seconds < first.evaluation_seconds <= 2 * second.evaluation_seconds
        assert first.hyperiteration_seconds == second.hyperiteration_seconds

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
        if kind["kind"] == "joint":
            body["problem"] = FEW_SHOT | {"outer_set": "support"}
        if kind["kind"] == "stochastic":
            body["algorithm"]["dynamics"] = {"kind": "gradient_descent", "batch": 64}
        if kind["kind"] == "reversible":
            body = {"problem": MLP, "algorithm": {"hypergradient": kind, "dynamics": {"kind": "heavy_ball"}}}
        if kind["kind"] == "reptile":
            body["problem"] = {"kind": "initialization"}
        found = plan(Experiment.model_validate(body))
        if found.memory is None or found.time is None:
            assert "Not modelled" in found.verdict
            assert found.notes == [], "it is said once"
            continue
        modelled += 1
        assert found.memory.peak_mb == pytest.approx(sum(part.mb for part in found.memory.parts), abs=0.5)
        assert found.time.hyperiteration_seconds == pytest.approx(sum(part.seconds for part in found.time.parts))
        assert found.ways[0].memory_mb == found.memory.peak_mb
        assert found.assumptions
    assert modelled >= len(KINDS[section]) - 1  # but for kinds that installed packages add


class TestInitialization:
    def test_a_copy_of_the_network_takes_more_than_a_copy_of_the_head(self) -> None:
        head = MAML | {"adapt": "head"}
        assert peak(head, **FIVE) < peak(MAML, **FIVE)
        assert seconds(head, **FIVE) < seconds(MAML, **FIVE)

    def test_evaluations_of_heads_send_support_sets_through_the_network_twice(self) -> None:
        def evaluated(**sizes: int) -> float:
            found = planned(MAML | {"adapt": "head", "way": 5, **sizes}, steps=1, hypergradient={"kind": "unrolled"})
            assert found.time
            return found.time.evaluation_seconds

        assert evaluated(shot=10, query=5) == pytest.approx(evaluated(shot=5, query=10), rel=0.1)

    def test_copies_of_a_few_tasks_at_a_time_take_less_memory(self) -> None:
        many = MAML | {"meta_batch": 64}
        assert peak(many | {"task_chunk": 4}, **FIVE) < 0.7 * peak(many, **FIVE)

    def test_first_order_and_reptile_take_no_way_back(self) -> None:
        there_and_back = seconds(MAML, **FIVE)
        for kind in ("first_order", "reptile"):
            assert seconds(MAML, steps=5, hypergradient={"kind": kind}) < 0.8 * there_and_back

    def test_memory_is_what_runs_took(self) -> None:
        """Four hyperiterations of 20 episodes, measured apart by benchmarks/measured_run.py."""
        few = MAML | {"meta_batch": 4, "query": 5}
        for problem, measured in ((few | {"way": 20}, 989), (few | {"meta_batch": 16}, 928)):
            spec = experiment(problem, **FIVE)
            spec = spec.model_copy(update={"evaluation": spec.evaluation.model_copy(update={"episodes": 20})})
            found = plan(spec).memory
            assert found
            assert found.peak_mb == pytest.approx(measured, rel=0.2)


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
        found = planned({"kind": "quadratic"}, limit=410)
        assert found.remedy is None
        assert "No other way fits" in found.verdict

    def test_the_reason_counts_the_process(self) -> None:
        found = planned({"kind": "quadratic"}, limit=410)
        assert "more than the limit of 410 MB: 400 MB of it are the process before it has loaded" in found.verdict
        below = plan(experiment({"kind": "quadratic"}, limit=410), DEVICES["cuda"])
        assert below.remedy is None
        assert "The process alone is above the limit" in below.verdict

    def test_the_reason_names_the_largest_part(self) -> None:
        found = planned(CLEANING, limit=800, steps=50_000, hypergradient={"kind": "unrolled"})
        assert found.memory
        largest = max(found.memory.parts, key=lambda part: part.mb)
        assert largest.part == "graphs of all steps"
        assert f"{largest.mb:.0f} MB graphs of all steps" in found.verdict

    def test_loading_is_the_reason_where_it_is_the_peak(self) -> None:
        large = CLEANING | {"dataset": {"kind": "mnist"}, "train": 20_000, "validation": 5000}
        nesterov = {"kind": "nesterov", "rate": 0.1}
        found = planned(large, limit=700, steps=2000, dynamics=nesterov, hypergradient={"kind": "reverse"})
        assert found.memory
        parts = {part.part: part.mb for part in found.memory.parts}
        assert max(parts.values()) > parts["loading the data"], "it is how much more loading takes than the rest"
        rest = found.memory.peak_mb - parts["process"]
        assert f"{rest:.0f} MB loading the data." in found.verdict
        assert found.remedy is None

    def test_fewer_copies_of_a_network_at_a_time_are_a_remedy(self) -> None:
        found = planned({"kind": "initialization"}, limit=700, **FIVE)
        assert found.remedy
        assert found.remedy.same
        assert found.remedy.set == {"problem.task_chunk": 2}
        assert "No other way" not in found.verdict
        again = planned({"kind": "initialization", "task_chunk": 2}, limit=700, **FIVE).memory
        assert again
        assert again.fits
        assert again.peak_mb == found.remedy.memory_mb

    def test_saba_over_its_limit_becomes_soba(self) -> None:
        algorithm = {"kind": "saba", "batch": 1, "outer_rate": 0.3}
        found = planned(CLEANING, limit=430, **algorithm)
        assert found.remedy
        assert not found.remedy.same
        assert found.remedy.name == "soba"
        assert "`soba` fits" in found.verdict
        again = planned(CLEANING, limit=430, **found.remedy.set["algorithm"])
        assert again.memory
        assert again.memory.fits
        assert again.memory.peak_mb == found.remedy.memory_mb
        assert found.remedy.set["algorithm"]["outer_rate"] == 0.3
        ways = {way.name: way for way in found.ways}
        assert ways["minibatches of 256"].fits
        assert ways["srba"].fits

    def test_of_smaller_minibatches_the_nearest_that_fits_is_the_remedy(self) -> None:
        wide = MLP | {"model": {"kind": "mlp", "hidden": [2048]}, "train": 1000}
        found = planned(wide, limit=460, kind="bome")
        assert found.remedy
        assert found.remedy.set == {"algorithm.batch": 250}
        assert not found.remedy.same

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


class TestRealTime:
    def test_reverse_with_segments_is_the_same_and_forward_mode_is_not(self) -> None:
        found = planned(MLP, kind="real_time", interval=50, hypergradient={"kind": "reverse"})
        same = {way.name for way in found.ways if way.same}
        assert same == {"as in the spec", "reverse, segments of the root of T", "reverse, 4 snapshots"}

    def test_forward_mode_has_no_other_way_that_is_the_same(self) -> None:
        found = planned(MLP, kind="real_time", interval=50, hypergradient={"kind": "forward"})
        assert {way.name for way in found.ways if way.same} == {"as in the spec"}

    @pytest.mark.parametrize("kind", ["forward", "reverse"])
    def test_only_what_it_can_have_is_listed(self, kind: str) -> None:
        found = planned(MLP, kind="real_time", hypergradient={"kind": kind})
        kinds = {way.set["algorithm.hypergradient"]["kind"] for way in found.ways if way.set}
        assert kinds == {"forward", "reverse"}
        assert not [way.reason for way in found.ways if "Input tag" in str(way.reason)]

    def test_the_remedy_is_the_same_hypergradient_where_there_is_one(self) -> None:
        algorithm = {"kind": "real_time", "interval": 5000, "hypergradient": {"kind": "reverse"}}
        found = planned(MLP, limit=500, **algorithm)
        assert found.memory
        assert found.memory.fits is False
        assert found.remedy
        assert found.remedy.same


@pytest.mark.parametrize("momentum", [0.01, 0.1, 0.3, 0.4, 0.5, 0.6, 0.9, 0.95, 0.99, 0.999])
def test_the_bit_buffer_is_what_a_run_keeps(momentum: float) -> None:
    """Against the series `buffer_bits`: bits a step and inner variable."""
    spec = experiment(
        MLP,
        steps=50,
        hypergradient={"kind": "reversible"},
        dynamics={"kind": "heavy_ball", "rate": 0.01, "momentum": momentum},
    )
    instance, algorithm = build(spec, device="cpu", data_dir=None)
    _, series = algorithm.step(0, algorithm.init(instance.initial))
    assert methods.buffer_bits(momentum) == pytest.approx(float(series["buffer_bits"]), rel=0.1)


def test_the_bit_buffer_is_in_the_plan() -> None:
    dynamics = {"kind": "heavy_ball", "momentum": 0.9}
    found = planned(MLP, steps=10_000, hypergradient={"kind": "reversible"}, dynamics=dynamics)
    assert found.memory
    buffer = {part.part: part.mb for part in found.memory.parts}["bit buffer"]
    assert buffer == pytest.approx(10_000 * found.sizes.inner_variables * 0.2 / 8 / 2**20, abs=0.06)


def test_segments_make_no_step_again_that_the_way_back_goes_through() -> None:
    """Of 10 segments of 10 steps the last is not walked anew, and the others but for their last steps: 9 x 9 steps."""
    found = planned(MLP, steps=100, hypergradient={"kind": "reverse", "segment": 10}).time
    assert found
    parts = {part.part: part.seconds for part in found.parts}
    assert parts["steps made again"] / parts["inner steps"] == pytest.approx(0.81)


def test_a_chunk_that_is_larger_than_an_evaluation_takes_is_none() -> None:
    chunked, whole = (planned(FEW_SHOT | {"meta_batch": 64, "task_chunk": chunk}).time for chunk in (64, None))
    assert chunked
    assert whole
    assert chunked.evaluation_seconds == whole.evaluation_seconds


class TestImages:
    MINI = FEW_SHOT | {"dataset": {"kind": "mini_imagenet"}, "meta_batch": 2}

    def test_decoded_images_are_in_memory_once(self) -> None:
        found = planned(self.MINI | {"model": {"kind": "mlp"}, "meta_batch": 1}).memory
        assert found
        parts = {part.part: part.mb for part in found.parts}
        assert parts["data set"] == pytest.approx(60_000 * 3 * 84**2 / 2**20, abs=0.1)

    def test_the_residual_network_takes_what_a_run_took(self) -> None:
        """Two hyperiterations and an evaluation of one episode, measured apart: 3597 and 4099 MB."""
        residual = self.MINI | {"model": {"kind": "residual"}, "task_chunk": 1}
        found = planned(residual, steps=5, hypergradient={"kind": "reverse"})
        assert found.memory
        assert found.memory.peak_mb == pytest.approx(4099, rel=0.2)
        assert found.sizes.outer_variables == 3_805_696
        assert found.sizes.inner_variables == 2 * 513 * 5

    def test_the_residual_network_takes_what_runs_took_on_small_images_too(self) -> None:
        """One task of 30 images, five hyperiterations and evaluations of 8 episodes, measured apart."""
        residual = FEW_SHOT | {"model": {"kind": "residual"}, "meta_batch": 1, "query": 5}
        found = planned(residual, **FOUR_STEPS).memory
        assert found
        assert found.peak_mb == pytest.approx(3303, rel=0.1)

    def test_an_evaluation_of_the_residual_network_over_a_hyperiteration_is_as_measured(self) -> None:
        spec = experiment(self.MINI | {"model": {"kind": "residual"}, "meta_batch": 1, "query": 2}, **FOUR_STEPS)
        few = spec.evaluation.model_copy(update={"episodes": 8})
        found = plan(spec.model_copy(update={"evaluation": few})).time
        assert found
        assert found.evaluation_seconds / found.hyperiteration_seconds == pytest.approx(18.85 / 1.27, rel=0.15)

    def test_filters_that_do_not_fill_a_vector_take_as_long_as_those_that_do(self) -> None:
        def network(filters: int) -> float:
            found = planned(FEW_SHOT | {"model": {"kind": "conv4", "filters": filters}}).time
            assert found
            return next(part.seconds for part in found.parts if part.part == "network")

        assert network(4) == network(8) == network(16) < network(32)

    def test_larger_images_go_in_smaller_numbers(self) -> None:
        pooled = {"kind": "conv4", "filters": 32, "downsample": "max_pool"}
        peaks = [planned(problem | {"model": pooled, "meta_batch": 2}).memory for problem in (FEW_SHOT, self.MINI)]
        assert peaks[0]
        assert peaks[1]
        assert peaks[1].peak_mb - 1211 < 3 * peaks[0].peak_mb

    def test_tasks_of_different_sizes_cost_what_the_largest_do_without_the_dual_walk(self) -> None:
        ragged = FEW_SHOT | {"way_from": 3, "way": 10}
        plain = planned(FEW_SHOT | {"way": 10}, hypergradient={"kind": "reverse", "segment": 16}, steps=16).memory
        found = planned(ragged, hypergradient={"kind": "reverse"}, steps=16)
        assert plain
        assert found.memory
        assert "kernels of the features" not in {part.part for part in found.memory.parts}
        assert found.memory.peak_mb == pytest.approx(plain.peak_mb, rel=0.05)


class TestMinibatches:
    def test_srba_pays_for_the_passes_over_all_examples(self) -> None:
        images = CLEANING | {"dataset": {"kind": "mnist"}, "train": 4000, "validation": 2000}
        times = [seconds(images, kind="srba", batch=100, period=period) for period in (1, 10, 100)]
        assert times[0] > times[1] > times[2]
        by_default = seconds(images, kind="srba", batch=100)
        assert by_default == pytest.approx(seconds(images, kind="srba", batch=100, period=40 + 20))

    def test_srba_with_period_1_is_soba_on_all_examples(self) -> None:
        passes, whole = planned(CLEANING, kind="srba", period=1).time, planned(CLEANING, kind="soba", batch=None).time
        assert passes
        assert whole
        part = {part.part: part.seconds for part in passes.parts}["passes over all examples"]
        assert part == pytest.approx({part.part: part.seconds for part in whole.parts}["oracles on minibatches"])

    def test_saba_remembers_a_direction_for_each_block_that_was_drawn(self) -> None:
        def remembered(hyperiterations: int) -> float:
            found = planned(CLEANING, kind="saba", batch=1, hyperiterations=hyperiterations).memory
            assert found
            return {part.part: part.mb for part in found.parts}["remembered directions"]

        w, lam = 65 * 10, 800
        whole = 4 * (800 * (2 * w + lam) + 400 * (w + lam)) / 2**20
        assert remembered(1000) == pytest.approx(whole, abs=0.05)
        assert remembered(100) == pytest.approx(4 * 100 * (3 * w + 2 * lam) / 2**20, abs=0.05)

    def test_what_saba_remembers_takes_no_time(self) -> None:
        few, many = (seconds(CLEANING, kind="saba", batch=batch) for batch in (64, 1))
        assert many <= few

    def test_measurements_are_reckoned_with(self) -> None:
        spec = experiment(CLEANING, kind="soba").model_dump(mode="json")
        spec["diagnostics"] = {
            "stationarity": {"every": 1},
            "comparison": {"every": 1, "against": {"kind": "implicit"}},
        }
        spec["problem"]["l2"] = 0.1
        measured = plan(Experiment.model_validate(spec)).time
        assert measured
        assert measured.hyperiteration_seconds > 2 * seconds(CLEANING, kind="soba")


def test_a_closed_form_is_evaluated_without_inner_steps() -> None:
    few, many = (
        planned({"kind": "quadratic"}, steps=steps, hypergradient={"kind": "exact"}).time for steps in (10, 10_000)
    )
    assert few
    assert many
    assert few.evaluation_seconds == many.evaluation_seconds


def test_a_slower_device_takes_longer() -> None:
    spec = experiment(CLEANING)
    cpu = DEVICES["cpu"]
    slow = cpu.model_copy(update={"operator_seconds": 10 * cpu.operator_seconds})
    quick, late = plan(spec, cpu).time, plan(spec, slow).time
    assert quick
    assert late
    assert 1.5 < late.hyperiteration_seconds / quick.hyperiteration_seconds <= 10


def test_bfloat16_has_half_the_traffic_and_a_rate_of_its_own() -> None:
    cpu = DEVICES["cpu"]
    units = cpu.model_copy(update={"bf16_operations_per_second": 3 * cpu.operations_per_second})
    pooled = FEW_SHOT | {"model": {"kind": "conv4", "downsample": "max_pool"}}
    body = experiment(pooled, steps=4).model_dump(mode="json")
    specs = [Experiment.model_validate({**body, "resources": {"precision": each}}) for each in ("float32", "bf16")]
    single, half = (plan(spec, cpu).time for spec in specs)
    faster = plan(specs[1], units).time
    assert single
    assert half
    assert faster
    assert plan(specs[0], units).time == single
    assert faster.hyperiteration_seconds < half.hyperiteration_seconds < single.hyperiteration_seconds
    assert faster.evaluation_seconds < half.evaluation_seconds < single.evaluation_seconds
    peaks = [memory.peak_mb for spec in specs if (memory := plan(spec, cpu).memory)]
    assert peaks[1] < peaks[0]


def test_measurements_of_the_spec_are_reckoned_with() -> None:
    spec = experiment(MLP)
    body = spec.model_dump(mode="json")
    body["diagnostics"] = {"truncation": {"every": 1}, "contraction": {"every": 1}, "comparison": {"every": 1}}
    plain, measured = plan(spec).time, plan(Experiment.model_validate(body)).time
    assert plain
    assert measured
    assert measured.hyperiteration_seconds > 3 * plain.hyperiteration_seconds


FOUR_TASKS = FEW_SHOT | {"meta_batch": 4}
DIFFERENCES = {"comparison": {"every": 1}}
FOUR_STEPS = {"steps": 4, "hypergradient": {"kind": "reverse"}}


class TestDiagnostics:
    """Planned beside a hypergradient that is known to be right; measured figures are of 4 tasks of Omniglot, T = 4."""

    @staticmethod
    def beside(problem: dict[str, Any], algorithm: dict[str, Any], **asked: dict[str, Any]) -> Plan:
        spec = experiment(problem, **algorithm)
        return plan(spec.model_copy(update={"diagnostics": spec.diagnostics.model_validate(asked)}))

    def ratio(self, **asked: dict[str, Any]) -> float:
        """Of the times of a hyperiteration with measurements and without."""
        plain, measured = (self.beside(FOUR_TASKS, FOUR_STEPS, **each).time for each in ({}, asked))
        assert plain
        assert measured
        return measured.hyperiteration_seconds / plain.hyperiteration_seconds

    @pytest.mark.parametrize(
        ("section", "measured"),
        [("stationarity", 105 / 80), ("truncation", 169 / 80), ("comparison", 284 / 80), ("contraction", 129 / 80)],
    )
    def test_each_takes_the_time_that_it_took(self, section: str, measured: float) -> None:
        assert self.ratio(**{section: {"every": 1}}) == pytest.approx(measured, rel=0.2)

    def test_all_together_take_what_they_took(self) -> None:
        sections = ("stationarity", "truncation", "comparison", "contraction")
        assert self.ratio(**{section: {"every": 1} for section in sections}) == pytest.approx(390 / 80, rel=0.2)

    def test_differences_of_a_closed_form_make_no_inner_steps(self) -> None:
        few, many = (
            self.beside({"kind": "quadratic"}, {"steps": steps, "hypergradient": {"kind": "exact"}}, **DIFFERENCES).time
            for steps in (10, 10_000)
        )
        assert few
        assert many
        assert few.hyperiteration_seconds == many.hyperiteration_seconds

    def test_only_what_grows_with_the_steps_doubles_with_them(self) -> None:
        directions = {"steps": 5, "hypergradient": {"kind": "random_forward", "directions": 16}}
        found = self.beside(WIDE, directions, truncation={"every": 1}).memory
        assert found
        assert found.peak_mb == pytest.approx(598, rel=0.1)  # measured by benchmarks/measured_run.py
        unrolled = {"steps": 500, "hypergradient": {"kind": "unrolled"}}
        longer = self.beside(WIDE, unrolled, truncation={"every": 1}).memory
        assert longer
        assert longer.peak_mb == pytest.approx(peak(WIDE, **unrolled | {"steps": 1000}), rel=0.01)

    def test_the_network_takes_a_chunk_at_a_time(self) -> None:
        chunked = FOUR_TASKS | {"meta_batch": 64, "task_chunk": 2}
        found = self.beside(chunked, FOUR_STEPS, stationarity={"every": 1}, comparison={"every": 1}).memory
        assert found
        assert found.peak_mb == pytest.approx(peak(chunked, **FOUR_STEPS), rel=0.05)

    def test_steps_of_all_copies_are_looked_at_together(self) -> None:
        chunked = MAML | {"meta_batch": 64, "task_chunk": 2}
        plain, whole = peak(chunked, **FIVE), peak(chunked | {"task_chunk": None}, **FIVE)
        found = self.beside(chunked, FIVE, contraction={"every": 1, "products": 1}).memory
        assert found
        assert 1.1 * plain < found.peak_mb < whole
        for section in ("stationarity", "comparison"):
            apart = self.beside(chunked, FIVE, **{section: {"every": 1}}).memory
            assert apart
            assert apart.peak_mb == pytest.approx(plain, rel=0.02)


OPTIMIZER = {"kind": "learned_optimizer", "meta_batch": 256}
DATA = {
    "kind": "learned_data",
    "model": {"kind": "mlp", "hidden": [256]},
    "examples_per_class": 50,
    "draws": 1,
    "final_steps": 1,
}
WIDE = MLP | {"model": {"kind": "mlp", "hidden": [256]}}


def test_steps_on_learned_examples_keep_what_a_run_kept() -> None:
    """`learned data, digits: unrolled` of benchmarks/plan_cases.py, measured apart: 658 MB."""
    found = planned(DATA, steps=100, hypergradient={"kind": "unrolled"}).memory
    assert found
    assert found.peak_mb == pytest.approx(658, rel=0.05)


@pytest.mark.parametrize(
    ("problem", "algorithm"),
    [
        (CLEANING | {"final_steps": 1}, {"steps": 2000, "hypergradient": {"kind": "unrolled"}}),
        (WIDE, {"steps": 100, "hypergradient": {"kind": "unrolled"}}),
        (WIDE, {"steps": 200, "hypergradient": {"kind": "reverse"}, "dynamics": {"kind": "adam"}}),
        (WIDE, {"steps": 20, "hypergradient": {"kind": "forward"}}),
        (WIDE, {"steps": 5, "hypergradient": {"kind": "random_forward", "directions": 16}}),
        (WIDE, {"steps": 20, "hypergradient": {"kind": "implicit"}}),
        (WIDE, {"kind": "real_time", "interval": 10}),
        (WIDE, {"kind": "saba", "batch": 4, "hyperiterations": 250}),
        (MLP | {"folds": 5}, {"steps": 10, "hypergradient": {"kind": "unrolled"}}),
        (OPTIMIZER, {"steps": 50, "hypergradient": {"kind": "unrolled"}}),
        (DATA, {"steps": 100, "hypergradient": {"kind": "unrolled"}}),
    ],
    ids=[
        "cleaning",
        "unrolled",
        "adam",
        "forward",
        "random forward",
        "implicit",
        "real time",
        "saba",
        "folds",
        "learned optimizer",
        "learned data",
    ],
)
def test_memory_is_what_a_run_takes(problem: dict[str, Any], algorithm: dict[str, Any]) -> None:
    spec = experiment(problem, **{"hyperiterations": 2, **algorithm})
    environment = dict(os.environ)
    prepare_process(1, environment)
    command = [sys.executable, "-m", "benchmarks.measured_run", spec.model_dump_json()]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)
    assert not answer.returncode, answer.stderr
    measured = json.loads(answer.stdout.splitlines()[-1])["peak_mb"]
    found = plan(spec).memory
    assert found
    assert found.peak_mb == pytest.approx(measured, rel=0.2)
    loaded = DEVICES["cpu"].process_mb  # what the model adds to it has to be right as well, where it is much
    assert found.peak_mb - loaded == pytest.approx(measured - loaded, rel=0.25, abs=40)


@pytest.mark.parametrize(
    ("meta_batch", "steps", "precision", "seconds"),
    [
        (4, 16, "float32", 1.92e-3),
        (16, 16, "float32", 3.66e-3),
        (16, 256, "float32", 3.85e-3),
        (16, 16, "bf16", 1.7e-3),
    ],
)
def test_a_replayed_hyperiteration_takes_what_an_h100_took(
    meta_batch: int, steps: int, precision: str, seconds: float
) -> None:
    """The whole loop, as docs/results/engine.md has it, or the hyperiteration with the loop's difference added."""
    spec = Experiment.model_validate(
        {
            "problem": {"kind": "hyper_representation", "way": 5, "shot": 1, "meta_batch": meta_batch},
            "algorithm": {"steps": steps, "dynamics": {"kind": "gradient_descent", "rate": 0.02}},
            "resources": {"device": "cuda", "precision": precision},
        }
    )
    found = plan(spec).time
    assert found is not None
    assert seconds / 2 < found.hyperiteration_seconds < 2 * seconds
    launched = plan(spec, DEVICES["cuda"].model_copy(update={"replayed_seconds": None})).time
    assert launched is not None
    assert launched.hyperiteration_seconds > 2 * found.hyperiteration_seconds


@pytest.mark.parametrize("hypergradient", ["first_order", "unrolled"])
def test_a_gpu_replays_whole_hyperiterations_of_other_methods_too(hypergradient: str) -> None:
    """And launches those that are measured now and then one by one."""
    spec = experiment(FEW_SHOT, steps=5, hypergradient={"kind": hypergradient})
    watched = spec.model_copy(update={"diagnostics": spec.diagnostics.model_validate({"direction": {"every": 2}})})
    replayed, launched = (plan(each, DEVICES["cuda"]).time for each in (spec, watched))
    assert replayed
    assert launched
    assert launched.hyperiteration_seconds > 4 * replayed.hyperiteration_seconds
    outer = {part.part: part.seconds for part in replayed.parts}[methods.OUTER_STEP]
    assert outer < 20 * DEVICES["cuda"].operator_seconds / 2


def test_evaluations_that_nobody_spaced_are_counted_a_tenth_apart() -> None:
    body = {"problem": {"kind": "quadratic"}, "algorithm": {"hyperiterations": 60}}
    assert plan(Experiment.model_validate(body)).time.evaluations == 11


def test_evaluations_on_a_gpu_take_more_episodes_together_but_not_more_than_a_chunk() -> None:
    one_by_one = DEVICES["cuda"].model_copy(update={"evaluated_together": 1})
    for shape, faster in (({}, True), ({"task_chunk": 2}, False)):
        spec = experiment({**FEW_SHOT, **shape}, steps=5)
        found, plain = plan(spec, DEVICES["cuda"]), plan(spec, one_by_one)
        assert found.time
        assert plain.time
        assert found.memory
        assert plain.memory
        assert (found.time.evaluation_seconds < plain.time.evaluation_seconds / 2) == faster
        assert (found.memory.peak_mb > plain.memory.peak_mb) == faster


def test_a_graph_keeps_its_memory_beside_what_an_evaluation_takes() -> None:
    spec = experiment(FEW_SHOT, steps=5)
    graphed = plan(spec, DEVICES["cuda"]).memory
    launched = plan(spec, DEVICES["cuda"].model_copy(update={"replayed_seconds": None})).memory
    assert graphed
    assert launched
    assert {"evaluation", "network's graph and episodes"} <= {part.part for part in graphed.parts}
    assert graphed.peak_mb > launched.peak_mb


def test_images_that_are_changed_as_they_are_drawn_take_time() -> None:
    def seconds(**dataset: Any) -> float:
        problem = {"kind": "hyper_representation", "dataset": {"kind": "mini_imagenet", **dataset}, "meta_batch": 1}
        time = plan(experiment(problem, steps=5)).time
        assert time
        return time.hyperiteration_seconds

    mirrored, cropped, recoloured = seconds(reflections=True), seconds(smallest_crop=0.5), seconds(colours=0.4)
    assert seconds() < mirrored < cropped < recoloured
    drawn = 80 * 3 * 84 * 84 * 4 / DEVICES["cpu"].bytes_per_second
    assert 3 * drawn < cropped - seconds() < 10 * drawn


def test_plans_know_where_tangents_go_on_the_tape() -> None:
    forward = {"steps": 10, "hypergradient": {"kind": "random_forward"}}
    parts = [plan(experiment(problem, **forward)).memory for problem in (MLP, WIDE)]
    assert ["torch's forward mode" in [part.part for part in found.parts] for found in parts if found] == [False, True]


def test_steps_that_are_no_kernel_of_their_own_take_longer() -> None:
    def walk(shot: int, precision: str = "float32") -> float:
        problem = {"kind": "hyper_representation", "way": 20, "shot": shot, "query": 10, "meta_batch": 1}
        spec = Experiment.model_validate(
            {"problem": problem, "algorithm": {"steps": 64}, "resources": {"device": "cuda", "precision": precision}}
        )
        time = plan(spec).time
        assert time is not None
        return next(part.seconds for part in time.parts if part.part == methods.WALK)

    assert walk(7) > 4 * walk(5)
    assert walk(5, "float64") > 4 * walk(5)
