"""The loop: the same to the bit wherever it is interrupted, and its curve is whole whatever happens."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from core.checkpointing import Checkpoint, MemoryCheckpoints, pack, unpack
from core.datasets import own
from core.errors import CheckpointInvalid, DataMissing, Diverged
from core.recording import MemoryRecorder
from core.run import Finished, Stopped, run
from core.spec import KINDS, Experiment, kind_of

LAST = 5
PROBLEMS: dict[str, dict[str, Any]] = {
    "quadratic": {"inner_dimension": 4, "outer_dimension": 2},
    "random_quadratics": {"inner_dimension": 4, "outer_dimension": 2, "inner_examples": 20, "outer_examples": 20},
    "regularization": {"train": 30, "validation": 20, "strength": "feature"},
    "hyper_cleaning": {"train": 30, "validation": 20, "final_steps": 5},
    "hyper_representation": {"model": {"kind": "conv4", "filters": 2}, "query": 2, "meta_batch": 2},
    "multiclass_transfer": {"model": {"kind": "conv4", "filters": 2}, "query": 2, "batch": 6},
    "initialization": {"model": {"kind": "conv4", "filters": 2}, "query": 2, "meta_batch": 2},
    "linear_representation": {"features": {"kind": "pixels", "size": 6}, "classes": 4, "test": 2},
    "learned_optimizer": {"optimizer": {"kind": "lstm", "hidden": 2}, "meta_batch": 2, "unrolls": 2},
    "learned_data": {"dataset": {"kind": "wine"}, "outer_batch": 20, "draws": 2, "final_steps": 5},
}
EPISODES = ("hyper_representation", "multiclass_transfer", "initialization", "learned_optimizer")
"""Problems that are judged by episodes rather than by examples."""
DATA = {
    "quadratic": None,
    "random_quadratics": None,
    "regularization": "diabetes",
    "hyper_cleaning": "digits",
    **dict.fromkeys(
        ("hyper_representation", "multiclass_transfer", "initialization", "linear_representation"), "omniglot"
    ),
    "learned_optimizer": None,
    "learned_data": "wine",
}
"""The kind of their data."""
RATES = {"sgd": 0.001, "momentum": 0.001, "adam": 0.05}


def described(kind: str = "quadratic", optimizer: str = "adam", **algorithm: Any) -> Experiment:
    # Without inner variables there are no inner steps whose rate could be learned.
    learned = {"kind": "gradient_descent", "rate": 0.1, "learn_rate": kind != "multiclass_transfer"}
    own: dict[str, Any] = {} if kind == "learned_optimizer" else {"dynamics": learned}
    return Experiment.model_validate(
        {
            "problem": {"kind": kind, **PROBLEMS[kind]},
            "algorithm": {
                "steps": 3,
                **own,
                "optimizer": {"kind": optimizer, "rate": RATES[optimizer], "decay": 0.1},
                "hyperiterations": LAST,
                **algorithm,
            },
            "evaluation": {"every": 2, "episodes": 4},
        }
    )


class Run:
    """One run with what it leaves behind; `checkpoints` may come from another."""

    def __init__(
        self,
        spec: Experiment,
        data_dir: Path,
        *,
        resume: Checkpoint | None = None,
        stop_at: int | None = None,
        checkpoint_seconds: float = 0.0,
    ) -> None:
        self.recorder, self.checkpoints = MemoryRecorder(), MemoryCheckpoints()
        if resume:
            self.checkpoints.save(resume)
        asked = iter(range(10**6))
        self.outcome = run(
            spec,
            device="cpu",
            data_dir=data_dir,
            recorder=self.recorder,
            checkpoints=self.checkpoints,
            stop=lambda: next(asked) == stop_at,
            checkpoint_seconds=checkpoint_seconds,
        )

    def result(self) -> dict[str, Any]:
        """Without what depends on the clock and the machine."""
        assert isinstance(self.outcome, Finished)
        varying = ("timing", "memory", "environment")
        return {name: value for name, value in self.outcome.result.items() if name not in varying}

    def artifacts(self) -> dict[str, bytes]:
        assert isinstance(self.outcome, Finished)
        return {name: content for name, (_, content) in self.outcome.artifacts.items()}

    def curves(self, since: int = 0) -> dict[str, dict[int, float]]:
        kept = {
            name: {k: value for k, value in curve.items() if k >= since}
            for name, curve in self.recorder.curves.items()
            if name != "seconds"
        }
        return {name: curve for name, curve in kept.items() if curve}


@pytest.mark.parametrize("optimizer", [kind_of(member) for member in KINDS["optimizer"]])
@pytest.mark.parametrize("problem", [kind_of(member) for member in KINDS["problem"]])
def test_resumed_after_any_hyperiteration_it_is_the_same_to_the_bit(
    problem: str, optimizer: str, synthetic_omniglot: Path
) -> None:
    spec = described(problem, optimizer)
    whole = Run(spec, synthetic_omniglot)
    saved = whole.checkpoints.saved
    assert [checkpoint.hyperiteration for checkpoint in saved] == list(range(LAST + 1))
    for checkpoint in saved:
        rest = Run(spec, synthetic_omniglot, resume=checkpoint)
        assert rest.recorder.events == [("resumed", {"hyperiteration": checkpoint.hyperiteration})]
        assert rest.curves() == whole.curves(since=checkpoint.hyperiteration)
        assert rest.result() == whole.result()
        assert rest.artifacts() == whole.artifacts()


def test_evaluations_that_nobody_spaced_are_a_tenth_apart_and_resume_to_the_bit(tmp_path: Path) -> None:
    changed = described(hyperiterations=25).canonical()
    changed["evaluation"]["every"] = None
    spec = Experiment.model_validate(changed)
    whole = Run(spec, tmp_path)
    assert list(whole.recorder.curves["validation/loss"]) == [*range(0, 25, 3), 25]
    rest = Run(spec, tmp_path, resume=whole.checkpoints.saved[10])
    assert rest.curves() == whole.curves(since=10)
    assert rest.result() == whole.result()


def test_averaged_outer_variables_are_what_is_evaluated_and_resume_to_the_bit(tmp_path: Path) -> None:
    spec = described(averaging=0.5)
    whole, plain = Run(spec, tmp_path), Run(described(), tmp_path)
    assert whole.recorder.curves["outer_objective"] == plain.recorder.curves["outer_objective"]
    losses, others = (each.recorder.curves["validation/loss"] for each in (whole, plain))
    assert losses[0] == others[0]
    assert losses[LAST] != others[LAST]
    for checkpoint in whole.checkpoints.saved:
        rest = Run(spec, tmp_path, resume=checkpoint)
        assert rest.curves() == whole.curves(since=checkpoint.hyperiteration)
        assert rest.artifacts() == whole.artifacts()


@pytest.mark.parametrize(
    ("kind", "dataset", "algorithm"),
    [
        ("regularization", "digits", {"kind": "real_time", "interval": 3, "hypergradient": {"kind": "reverse"}}),
        ("hyper_cleaning", "digits", {"kind": "real_time", "interval": 3, "hypergradient": {"kind": "reverse"}}),
        ("hyper_representation", "omniglot", {"kind": "nested", "steps": 3}),
    ],
)
def test_resumed_states_lie_in_memory_as_they_did(
    kind: str, dataset: str, algorithm: dict[str, Any], synthetic_omniglot: Path
) -> None:
    """Transposed states and gradients in channels-last order: sums over them round by their layout."""
    spec = Experiment.model_validate(
        {
            "problem": {"kind": kind, **PROBLEMS[kind], "dataset": {"kind": dataset}},
            "algorithm": {**algorithm, "hyperiterations": LAST},
            "evaluation": {"every": 1, "episodes": 4},
            "diagnostics": {"direction": {}},
        }
    )
    whole = Run(spec, synthetic_omniglot)
    for checkpoint in whole.checkpoints.saved:
        rest = Run(spec, synthetic_omniglot, resume=checkpoint)
        assert rest.curves() == whole.curves(since=checkpoint.hyperiteration)
        assert rest.result() == whole.result()


def overshooting(hyperiterations: int) -> dict[str, Any]:
    """A rate so large that the momentum carries the outer variables past the minimizer and back."""
    changed = described(optimizer="momentum").canonical() | {"seed": 3}
    changed["algorithm"]["optimizer"]["rate"] = 0.2
    changed["algorithm"]["hyperiterations"] = hyperiterations
    return changed


def test_early_stopping_counts_evaluations_after_the_best(tmp_path: Path) -> None:
    changed = overshooting(40)
    whole = Run(Experiment.model_validate(changed), tmp_path)
    validation = whole.recorder.curves["validation/loss"]
    changed["evaluation"]["patience"] = 3
    spec = Experiment.model_validate(changed)
    early = Run(spec, tmp_path)
    (stopped,) = early.recorder.events
    last = stopped[1]["hyperiteration"]
    assert stopped == ("stopped_early", {"hyperiteration": last, "patience": 3})
    seen = {k: value for k, value in validation.items() if k <= last}
    best = min(seen, key=lambda k: (seen[k], k))
    assert 0 < best == last - 6 < 34
    assert early.recorder.curves["validation/loss"] == seen
    result = early.result()
    assert result["best"]["hyperiteration"] == best
    assert result["final"]["hyperiteration"] == last
    assert len(early.recorder.curves["outer_objective"]) == last
    for checkpoint in early.checkpoints.saved:
        assert Run(spec, tmp_path, resume=checkpoint).result() == result


def test_patience_that_is_never_spent_changes_nothing(tmp_path: Path) -> None:
    changed = described().canonical()
    changed["evaluation"]["patience"] = 10
    patient, plain = Run(Experiment.model_validate(changed), tmp_path), Run(described(), tmp_path)
    assert patient.curves() == plain.curves()
    assert patient.recorder.events == []
    assert patient.result()["final"] == plain.result()["final"]


@pytest.mark.parametrize("problem", [kind_of(member) for member in KINDS["problem"]])
def test_stopped_and_resumed_it_is_the_same_to_the_bit(problem: str, synthetic_omniglot: Path) -> None:
    spec = described(problem)
    whole = Run(spec, synthetic_omniglot, checkpoint_seconds=1e9)
    assert whole.checkpoints.saved == []
    for stop_at in range(LAST + 1):
        first = Run(spec, synthetic_omniglot, stop_at=stop_at, checkpoint_seconds=1e9)
        assert first.outcome == Stopped(stop_at)
        (checkpoint,) = first.checkpoints.saved
        second = Run(spec, synthetic_omniglot, resume=checkpoint)
        before, after = first.curves(), second.curves()
        assert {name: before.get(name, {}) | after.get(name, {}) for name in before | after} == whole.curves()
        assert second.result() == whole.result()


def test_points_of_hyperiteration_k_describe_lam_k(tmp_path: Path) -> None:
    curves = Run(described("regularization"), tmp_path).recorder.curves
    every, evaluated = list(range(LAST)), [0, 2, 4, 5]
    for name in (
        "outer_objective",
        "hypergradient_norm",
        "inner_objective_start",
        "inner_objective_end",
        "inner_gradient_norm",
        "seconds",
    ):
        assert list(curves[name]) == every
    assert list(curves["outer/rate"]) == [*every, LAST]
    assert sum(name.startswith("outer/strength/") for name in curves) == 10
    for name in ("validation/loss", "test/loss", "validation/absolute_error", "test/absolute_error"):
        assert list(curves[name]) == evaluated
    for k in (0, 2, 4):  # the outer objective is the validation loss
        assert curves["outer_objective"][k] == pytest.approx(curves["validation/loss"][k], rel=1e-6)
    assert curves["outer/rate"][0] == pytest.approx(0.1)


def test_implicit_methods_record_their_solver(tmp_path: Path) -> None:
    spec = described(
        dynamics={"kind": "gradient_descent"}, hypergradient={"kind": "implicit", "solver": {"kind": "cg"}}
    )
    curves = Run(spec, tmp_path).recorder.curves
    assert curves["solver_residual"][LAST - 1] < 1e-5
    assert 1 <= curves["solver_iterations"][LAST - 1] <= 100


@pytest.mark.parametrize("problem", [kind_of(member) for member in KINDS["problem"]])
def test_the_result_has_its_shape_and_is_json(problem: str, synthetic_omniglot: Path) -> None:
    spec = described(problem)
    finished = Run(spec, synthetic_omniglot).outcome
    assert isinstance(finished, Finished)
    result = json.loads(json.dumps(finished.result, allow_nan=False))
    assert result == finished.result
    unit = "episodes" if problem in EPISODES else "examples"
    assert result["final"]["hyperiteration"] == LAST
    for metrics in (
        result["best"]["validation"],
        result["final"]["validation"],
        result["final"]["test"],
        result["test"],
    ):
        for metric in metrics.values():
            assert metric.keys() == {"mean", "ci95", unit}
    assert result["best"]["hyperiteration"] in (0, 2, 4, 5)
    assert result["spec_sha256"] == spec.sha256()
    assert result["timing"]["total_seconds"] > result["timing"]["evaluation_seconds"] > 0
    assert result["timing"]["seconds_per_hyperiteration"] > 0
    assert result["memory"]["peak_mb"] > 50
    assert result["environment"]["torch"] == torch.__version__
    assert (result["data"] or {}).get("kind") == DATA[problem]


@pytest.mark.parametrize("problem", ["regularization", "hyper_cleaning", "learned_data"])
def test_the_rows_of_a_table_are_kept(problem: str, tmp_path: Path) -> None:
    finished = Run(described(problem), tmp_path).outcome
    assert isinstance(finished, Finished)
    rows = safetensors.torch.load(finished.artifacts["split.safetensors"][1])
    assert rows.keys() == {"train", "validation", "test"}
    together = torch.cat([*rows.values()])
    assert len(together.unique()) == len(together)


def test_the_same_spec_on_other_data_is_told_apart(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    results = []
    for shift in (0, 0, 1):
        np.savez(tmp_path / "own.npz", X=x + shift * x**2, y=x[:, 0])
        added = own.add("own", tmp_path / "own.npz", tmp_path, regression=True)
        problem = {"kind": "regularization", "dataset": added.dataset.model_dump()}
        spec = Experiment.model_validate({"problem": problem, "algorithm": {"steps": 2, "hyperiterations": 2}})
        results.append(Run(spec, tmp_path).result())
    assert len({result["spec_sha256"] for result in results}) == 1
    assert results[0]["data"] == results[1]["data"] != results[2]["data"]
    assert results[2]["data"]["name"] == "own"


def test_the_best_is_chosen_by_validation_alone(tmp_path: Path) -> None:
    found = Run(Experiment.model_validate(overshooting(12)), tmp_path)
    validation = found.recorder.curves["validation/loss"]
    best = min(validation, key=lambda k: (validation[k], k))
    assert 0 < best < 12
    result = found.result()
    assert result["best"]["hyperiteration"] == best
    assert result["best"]["validation"]["loss"]["mean"] == validation[best]
    assert result["test"]["loss"]["mean"] == found.recorder.curves["test/loss"][best]
    assert result["final"]["validation"]["loss"]["mean"] == validation[12]


def test_the_artifact_holds_the_best_outer_variables_not_the_last(tmp_path: Path) -> None:
    spec = Experiment.model_validate(
        {
            "problem": {"kind": "quadratic", **PROBLEMS["quadratic"]},
            "algorithm": {"steps": 50, "optimizer": {"kind": "sgd", "rate": 0.8}, "hyperiterations": 3},
            "evaluation": {"every": 1},
        }
    )
    found = Run(spec, tmp_path)
    validation = found.recorder.curves["validation/loss"]
    assert validation[3] > validation[0]  # it runs away
    assert found.result()["best"]["hyperiteration"] == 0
    content = found.artifacts()["outer_variables.safetensors"]
    assert safetensors.torch.load(content)["lam"].tolist() == [0, 0]


@pytest.mark.parametrize("problem", [kind_of(member) for member in KINDS["problem"]])
def test_what_the_best_metrics_are_means_of_is_kept(problem: str, synthetic_omniglot: Path) -> None:
    found = Run(described(problem), synthetic_omniglot)
    outcomes = safetensors.torch.load(found.artifacts()["evaluation.safetensors"])
    result = found.result()
    parts = {"validation": result["best"]["validation"], "test": result["test"]}
    assert set(outcomes) == {f"{part}/{name}" for part, metrics in parts.items() for name in metrics}
    for part, metrics in parts.items():
        for name, told in metrics.items():
            values = outcomes[f"{part}/{name}"]
            assert values.dtype == torch.float64
            assert len(values) == told.get("examples", told.get("episodes"))
            assert values.mean().item() == told["mean"]


@pytest.mark.parametrize("problem", [kind_of(member) for member in KINDS["problem"]])
def test_no_hyperiterations_are_an_evaluation_of_the_start(problem: str, synthetic_omniglot: Path) -> None:
    found = Run(described(problem, hyperiterations=0), synthetic_omniglot)
    evaluated = Run(described(problem), synthetic_omniglot).recorder.curves
    result = found.result()
    assert result["best"]["hyperiteration"] == result["final"]["hyperiteration"] == 0
    for part in ("validation", "test"):
        for name, told in result["final"][part].items():
            assert found.recorder.curves[f"{part}/{name}"] == {0: told["mean"]}
            assert told["mean"] == evaluated[f"{part}/{name}"][0]
    assert "outer_objective" not in found.recorder.curves


def test_a_checkpoint_without_outcomes_goes_on(tmp_path: Path) -> None:
    """As those of earlier versions are, the file comes with the next best evaluation only."""
    spec = described()
    whole = Run(spec, tmp_path)
    saved = whole.checkpoints.saved[-1]
    tensors, facts = unpack(saved.payload)
    assert any(name.startswith("outcomes/") for name in tensors)
    older = pack({name: tensor for name, tensor in tensors.items() if not name.startswith("outcomes/")}, facts)
    rest = Run(spec, tmp_path, resume=saved._replace(payload=older))
    assert rest.result() == whole.result()
    assert "outer_variables.safetensors" in rest.artifacts()


def test_divergence_says_where_and_keeps_the_curve(tmp_path: Path) -> None:
    spec = described(optimizer="sgd", dynamics={"kind": "gradient_descent", "rate": 1.0}, steps=20)
    changed = spec.canonical()
    changed["algorithm"]["optimizer"]["rate"] = 1e4
    changed["algorithm"]["hyperiterations"] = 100
    recorder, checkpoints = MemoryRecorder(), MemoryCheckpoints()
    with pytest.raises(Diverged, match=r"hyperiteration \d+ is not finite .* lower the rate") as caught:
        run(
            Experiment.model_validate(changed),
            device="cpu",
            data_dir=tmp_path,
            recorder=recorder,
            checkpoints=checkpoints,
            checkpoint_seconds=0,
        )
    k = caught.value.hyperiteration
    assert 2 < k < 100
    norms = recorder.curves["hypergradient_norm"]
    assert list(norms) == list(range(k + 1))
    assert all(math.isfinite(norms[before]) for before in range(k))
    bad = (norms[k], recorder.curves["outer_objective"][k])
    assert not all(math.isfinite(value) for value in bad)
    assert max(checkpoint.hyperiteration for checkpoint in checkpoints.saved) <= k


def test_a_diverging_inner_problem_ends_at_hyperiteration_0(tmp_path: Path) -> None:
    spec = described("regularization", dynamics={"kind": "gradient_descent", "rate": 100.0}, steps=200)
    recorder = MemoryRecorder()
    with pytest.raises(Diverged) as caught:
        run(spec, device="cpu", data_dir=tmp_path, recorder=recorder, checkpoints=MemoryCheckpoints())
    assert caught.value.hyperiteration == 0
    assert list(recorder.curves["outer_objective"]) == [0]
    assert list(recorder.curves["validation/loss"]) == [0]


def test_points_are_durable_before_the_checkpoint_that_follows_them(tmp_path: Path) -> None:
    happened: list[tuple[str, int]] = []

    class Recorder(MemoryRecorder):
        def points(self, hyperiteration: int, values: Any) -> None:
            happened.append(("point", hyperiteration))

        def flush(self) -> None:
            happened.append(("flush", -1))

    class Checkpoints(MemoryCheckpoints):
        def save(self, checkpoint: Checkpoint) -> None:
            happened.append(("save", checkpoint.hyperiteration))

    run(
        described(),
        device="cpu",
        data_dir=tmp_path,
        recorder=Recorder(),
        checkpoints=Checkpoints(),
        checkpoint_seconds=0,
    )
    for place, (kind, k) in enumerate(happened):
        if kind == "save":
            assert happened[place - 1] == ("flush", -1)
            assert [point for what, point in happened[:place] if what == "point" and point >= k] == []
            assert k == 0 or ("point", k - 1) in happened[:place]
    assert happened[-1] == ("flush", -1)


def test_a_checkpoint_of_another_experiment_is_refused(tmp_path: Path) -> None:
    (checkpoint,) = Run(described(), tmp_path, stop_at=2, checkpoint_seconds=1e9).checkpoints.saved
    other = Experiment.model_validate(described().canonical() | {"seed": 1})
    with pytest.raises(CheckpointInvalid, match="another experiment"):
        Run(other, tmp_path, resume=checkpoint)


@pytest.mark.parametrize("damage", [b"", b"rubbish", None])
def test_a_damaged_checkpoint_is_refused(damage: bytes | None, tmp_path: Path) -> None:
    (checkpoint,) = Run(described(), tmp_path, stop_at=2, checkpoint_seconds=1e9).checkpoints.saved
    payload = checkpoint.payload[:-8] if damage is None else damage
    with pytest.raises(CheckpointInvalid, match="cannot be read"):
        Run(described(), tmp_path, resume=Checkpoint(2, payload))


def test_a_checkpoint_is_plain_data(tmp_path: Path) -> None:
    (checkpoint,) = Run(described(), tmp_path, stop_at=1, checkpoint_seconds=1e9).checkpoints.saved
    tensors, facts = unpack(checkpoint.payload)
    assert tensors.keys() >= {"state/lam/lam", "state/lam/log_rate", "best/lam", "best/log_rate"}
    assert facts["best"]["hyperiteration"] == 0


def test_seconds_add_up_over_attempts(tmp_path: Path) -> None:
    spec = described()
    (checkpoint,) = Run(spec, tmp_path, stop_at=4, checkpoint_seconds=1e9).checkpoints.saved
    before = unpack(checkpoint.payload)[1]["seconds"]
    finished = Run(spec, tmp_path, resume=checkpoint).outcome
    assert isinstance(finished, Finished)
    timing = finished.result["timing"]
    assert timing["hyperiterations_seconds"] > before["hyperiterations"] > 0
    assert timing["evaluation_seconds"] > before["evaluations"] > 0
    assert timing["setup_seconds"] > before["setup"] > 0


def test_missing_data_is_said_so(tmp_path: Path) -> None:
    spec = Experiment.model_validate({"problem": {"kind": "hyper_representation"}})
    with pytest.raises(DataMissing, match="bilevel data prepare omniglot"):
        Run(spec, tmp_path)


def test_divergence_before_any_outer_step_blames_the_inner_dynamics_alone(tmp_path: Path) -> None:
    spec = described(optimizer="sgd", dynamics={"kind": "gradient_descent", "rate": 1e4}, steps=200)
    recorder, checkpoints = MemoryRecorder(), MemoryCheckpoints()
    with pytest.raises(Diverged, match=r"lower the rate of the inner dynamics\.$") as caught:
        run(spec, device="cpu", data_dir=tmp_path, recorder=recorder, checkpoints=checkpoints)
    assert caught.value.hyperiteration == 0
    assert list(recorder.curves["hypergradient_norm"]) == [0]
