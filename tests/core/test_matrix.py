"""Every problem x hypergradient x dynamics that a spec can name: right, in each precision, on every device, again."""

import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from core.bilevel import derivatives, trees
from core.checkpointing import MemoryCheckpoints
from core.recording import MemoryRecorder
from core.run import Finished, run
from core.spec import Experiment
from tests.core.small import (
    ALGORITHMS,
    BATCH,
    CONVERGENT,
    OWN_DYNAMICS,
    PROBLEMS,
    described,
    error,
    hypergradient,
    kept_on,
    kinds,
)

OF_THE_LIMIT = ("implicit", "exact")
"""Hypergradients of f rather than of f_T: equal to the others once w_T has converged."""
OF_NEITHER = ("first_order", "reptile")
"""Biased on purpose, or no gradient; tests of their own say what they are."""
RANDOM = ("random_forward",)
"""Estimates: right on average only; tests of their own say so."""
DIFFERENT = (*OF_THE_LIMIT, *OF_NEITHER, *RANDOM)
FLOAT32 = {
    "quadratic": 1e-5,
    "random_quadratics": 1e-5,
    "regularization": 1e-5,
    "hyper_cleaning": 1e-5,
    "hyper_representation": 1e-4,
    "multiclass_transfer": 1e-4,
    "initialization": 1e-4,
    "linear_representation": 1e-5,
    "learned_optimizer": 1e-4,
    "learned_data": 1e-5,
}
"""Relative error of a hypergradient in float32 after ten inner steps."""
BF16: dict[str, tuple[str, dict[str, Any], float]] = {
    "reverse": ("gradient_descent", {"kind": "reverse"}, 0.1),
    "segments": ("gradient_descent", {"kind": "reverse", "segment": 2}, 0.1),
    "snapshots": ("gradient_descent", {"kind": "reverse", "snapshots": 2}, 0.1),
    "unrolled": ("gradient_descent", {"kind": "unrolled"}, 0.1),
    "reversible": ("heavy_ball", {"kind": "reversible"}, 0.1),
    "implicit": ("gradient_descent", {"kind": "implicit"}, 0.13),
}
"""Dynamics, method, and relative error of its hypergradient with the network in bfloat16 (conv4 with 8 filters)."""


@pytest.mark.parametrize("dynamics", kinds("dynamics"))
@pytest.mark.parametrize("problem", kinds("problem"))
def test_every_method_agrees_with_the_plainest(problem: str, dynamics: str, synthetic_omniglot: Path) -> None:
    plain = described(problem, "unrolled", dynamics, steps=5)
    others = [method for method in kinds("hypergradient") if method not in (*DIFFERENT, "unrolled")]
    if plain is None:  # dynamics that cannot be differentiated through: nothing that would is allowed
        assert not any(described(problem, method, dynamics, steps=5) for method in others)
        return
    expected = hypergradient(plain, synthetic_omniglot)
    assert float(trees.norm(expected.grad)) > 0
    for method in others:
        if (spec := described(problem, method, dynamics, steps=5)) is not None:
            found = hypergradient(spec, synthetic_omniglot)
            assert error(found, expected) < 1e-9, method
            assert torch.isclose(found.outer_loss, expected.outer_loss, rtol=1e-12)


@pytest.mark.parametrize("dynamics", kinds("dynamics"))
@pytest.mark.parametrize("problem", ["regularization", "hyper_cleaning", "learned_data"])
def test_every_method_agrees_on_minibatches(problem: str, dynamics: str, tmp_path: Path) -> None:
    plain = described(problem, "unrolled", dynamics, steps=5, batch=BATCH)
    others = [method for method in kinds("hypergradient") if method not in (*DIFFERENT, "unrolled")]
    if plain is None:
        assert not any(described(problem, method, dynamics, steps=5, batch=BATCH) for method in others)
        return
    expected = hypergradient(plain, tmp_path)
    whole = described(problem, "unrolled", dynamics, steps=5)
    assert whole is not None
    assert error(hypergradient(whole, tmp_path), expected) > 1e-3  # minibatches are taken
    for method in [*others, {"kind": "reverse", "segment": 2}, {"kind": "reverse", "snapshots": 2}]:
        if (spec := described(problem, method, dynamics, steps=5, batch=BATCH)) is not None:
            assert error(hypergradient(spec, tmp_path), expected) < 1e-9, method


@pytest.mark.parametrize("method", OF_THE_LIMIT)
@pytest.mark.parametrize("problem", kinds("problem"))
def test_methods_of_the_limit_agree_where_the_dynamics_have_converged(
    problem: str, method: str, synthetic_omniglot: Path
) -> None:
    steps = 250
    plain = described(problem, "reverse", "gradient_descent", steps=steps)
    assert plain is not None
    expected = hypergradient(plain, synthetic_omniglot)
    for dynamics in CONVERGENT:
        if dynamics in kinds("dynamics") and (spec := described(problem, method, dynamics, steps=steps)) is not None:
            assert error(hypergradient(spec, synthetic_omniglot), expected) < 1e-5, dynamics


@pytest.mark.parametrize("method", kinds("hypergradient"))
@pytest.mark.parametrize("problem", kinds("problem"))
def test_float32_is_float64_within_the_stated_bound(problem: str, method: str, synthetic_omniglot: Path) -> None:
    pair = [
        described(problem, method, "gradient_descent", steps=10, precision=precision)
        for precision in ("float32", "float64")
    ]
    if pair[0] is None or pair[1] is None:
        pytest.skip("refused")
    single, double = (hypergradient(spec, synthetic_omniglot) for spec in pair if spec is not None)
    assert {leaf.dtype for leaf in trees.leaves(single.grad)} == {torch.float32}
    assert error(single, double) < FLOAT32[problem]


@pytest.mark.parametrize("dynamics", [each for each in kinds("dynamics") if each != "gradient_descent"])
@pytest.mark.parametrize("problem", kinds("problem"))
def test_float32_is_float64_whatever_the_dynamics(problem: str, dynamics: str, synthetic_omniglot: Path) -> None:
    if problem in OWN_DYNAMICS:
        pytest.skip("refused")
    tried = 0
    for method in ("reverse", "reversible", "implicit", "exact"):
        if (double := described(problem, method, dynamics, steps=10)) is None:
            continue
        single = described(problem, method, dynamics, steps=10, precision="float32")
        assert single is not None
        found, expected = (hypergradient(spec, synthetic_omniglot) for spec in (single, double))
        assert error(found, expected) < FLOAT32[problem], method
        tried += 1
    assert tried


@pytest.mark.parametrize("method", ["forward", "random_forward"])
@pytest.mark.parametrize("problem", kinds("problem"))
def test_torchs_forward_mode_gives_what_the_tape_gives(
    problem: str, method: str, synthetic_omniglot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (spec := described(problem, method, "gradient_descent", steps=5)) is None:
        pytest.skip("refused")
    found = {}
    for few in (0, 10**9):
        monkeypatch.setattr(derivatives, "FEW", few)
        found[few] = hypergradient(spec, synthetic_omniglot)
    assert error(found[0], found[10**9]) < 1e-10


@pytest.mark.parametrize("solver", kinds("solver"))
@pytest.mark.parametrize("problem", kinds("problem"))
def test_float32_is_float64_whatever_the_solver(problem: str, solver: str, synthetic_omniglot: Path) -> None:
    method = {"kind": "implicit", "solver": {"kind": solver}}
    knobs: dict[str, Any] = {"steps": 10, "batch": BATCH if solver == "stochastic" else None}
    if (double := described(problem, method, "gradient_descent", **knobs)) is None:
        pytest.skip("refused")
    single = described(problem, method, "gradient_descent", precision="float32", **knobs)
    assert single is not None
    found, expected = (hypergradient(spec, synthetic_omniglot) for spec in (single, double))
    assert error(found, expected) < FLOAT32[problem]


@pytest.mark.parametrize("name", BF16)
def test_bf16_is_float64_within_the_bound_of_the_method(name: str, synthetic_omniglot: Path) -> None:
    dynamics, method, bound = BF16[name]
    problem: dict[str, Any] = {"model": {"kind": "conv4", "filters": 8}, "query": 8}
    specs = [
        described("hyper_representation", method, dynamics, steps=5, precision=precision, **problem)
        for precision in ("bf16", "float64")
    ]
    short, double = (hypergradient(spec, synthetic_omniglot) for spec in specs if spec is not None)
    assert 1e-4 < error(short, double) < bound  # the first as float32 alone would be nearer
    assert float(short.outer_loss) == pytest.approx(float(double.outer_loss), rel=bound / 10)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dynamics", kinds("dynamics"))
@pytest.mark.parametrize("method", kinds("hypergradient"))
@pytest.mark.parametrize("problem", kinds("problem"))
def test_cuda_is_the_cpu_to_round_off(problem: str, method: str, dynamics: str, synthetic_omniglot: Path) -> None:
    # An iteration that stops at its tolerance is only as near: its preconditioner is in float32 on either device.
    exactly = {"kind": "implicit", "solver": {"kind": "cg", "tolerance": 1e-12}} if method == "implicit" else method
    if (spec := described(problem, exactly, dynamics, steps=5)) is None:
        pytest.skip("refused")
    found = hypergradient(spec, synthetic_omniglot, "cuda")
    assert {leaf.device.type for leaf in trees.leaves(found.grad)} == {"cuda"}
    assert error(found, hypergradient(spec, synthetic_omniglot)) < 1e-8


MEASURABLE = {"multiclass_transfer": ("comparison", "direction")}
"""Diagnostics of problems that have no inner variables."""


class Trace(NamedTuple):
    """What a run leaves behind, but for what the clock says."""

    curves: str
    artifacts: str


def trace(spec: Experiment, data_dir: Path) -> Trace:
    """Hashes of all curves and files."""
    recorder = MemoryRecorder()
    outcome = run(spec, device="cpu", data_dir=data_dir, recorder=recorder, checkpoints=MemoryCheckpoints())
    assert isinstance(outcome, Finished)
    curves = {name: list(curve.items()) for name, curve in sorted(recorder.curves.items()) if name != "seconds"}
    files = b"".join(content for _, (_, content) in sorted(outcome.artifacts.items()))
    return Trace(*(hashlib.sha256(part).hexdigest() for part in (json.dumps(curves).encode(), files)))


def repeated() -> list[Experiment]:
    """Runs with diagnostics: every problem, every method on the smallest of them, every algorithm."""
    asked: dict[str, Any] = {name: {"every": 2} for name in ("truncation", "contraction", "comparison", "direction")}
    found = []
    for problem in kinds("problem"):
        for method in kinds("hypergradient") if problem == "quadratic" else ("reverse", "implicit"):
            if (spec := described(problem, method, "gradient_descent", steps=3)) is not None:
                algorithm = spec.algorithm.model_dump(mode="json") | {"hyperiterations": 3}
                kept = {"comparison", "direction"} if problem in OWN_DYNAMICS else MEASURABLE.get(problem, asked)
                some = {} if method == "exact" else {name: asked[name] for name in kept}
                found.append(
                    Experiment.model_validate(spec.canonical() | {"algorithm": algorithm, "diagnostics": some})
                )
    for algorithm in ALGORITHMS:
        for problem in ("hyper_representation",) if algorithm == "joint" else ("regularization", "hyper_cleaning"):
            spec = kept_on(problem, algorithm)
            assert spec is not None
            every = {name: {"every": 2} for name in ("stationarity", "direction") if algorithm != "joint"}
            found.append(Experiment.model_validate(spec.canonical() | {"diagnostics": every}))
    return found


def main(data_dir: str) -> None:
    """The traces, for the test below."""
    sys.stdout.write(json.dumps([trace(spec, Path(data_dir)) for spec in repeated()]))


def test_two_processes_agree_to_the_bit(synthetic_omniglot: Path) -> None:
    code = f"from tests.core.test_matrix import main; main({str(synthetic_omniglot)!r})"
    root = Path(__file__).resolve().parents[2]

    def traces(process: int) -> Any:
        command = [sys.executable, "-c", code]
        return json.loads(subprocess.run(command, cwd=root, capture_output=True, check=True, timeout=250).stdout)

    with ThreadPoolExecutor() as pool:
        first, second = pool.map(traces, range(2))
    assert len(first) == len(repeated())
    assert first == second
    assert len({tuple(traced) for traced in first}) > len(PROBLEMS)  # not all the same


def test_every_problem_has_a_small_form() -> None:
    assert set(kinds("problem")) == PROBLEMS.keys() == FLOAT32.keys()
