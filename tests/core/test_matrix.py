"""Every problem x hypergradient x dynamics that a spec can name: right, in either precision, on every device, again."""

import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from pydantic import ValidationError

from core.bilevel import trees
from core.bilevel.problem import Hypergradient
from core.build import build, build_inner, build_method, make_context
from core.checkpointing import MemoryCheckpoints
from core.recording import MemoryRecorder
from core.run import Finished, run
from core.spec import KINDS, Experiment, kind_of

PROBLEMS: dict[str, dict[str, Any]] = {
    "quadratic": {"inner_dimension": 4, "outer_dimension": 2, "condition": 3},
    "random_quadratics": {
        "inner_dimension": 4,
        "outer_dimension": 3,
        "inner_examples": 50,
        "outer_examples": 50,
        "convexity": 0.5,
    },
    "regularization": {"train": 30, "validation": 20, "strength": "feature", "initial_strength": 0.5},
    "hyper_cleaning": {"dataset": {"kind": "wine"}, "train": 30, "validation": 20, "final_steps": 5, "l2": 0.8},
    "hyper_representation": {"model": {"kind": "mlp", "hidden": [2]}, "query": 2, "meta_batch": 2, "l2": 0.8},
}
"""Small, and each with one minimizer."""
OF_THE_LIMIT = ("implicit", "exact")
"""Hypergradients of f rather than of f_T: equal to the others once w_T has converged."""
RANDOM = ("random_forward",)
"""Estimates: right on average only; tests of their own say so."""
CONVERGENT = ("gradient_descent", "heavy_ball", "nesterov", "line_search")
"""Dynamics that come to rest at the minimizer; the others dance around it with a constant rate."""
FLOAT32 = {
    "quadratic": 1e-5,
    "random_quadratics": 1e-5,
    "regularization": 1e-5,
    "hyper_cleaning": 1e-5,
    "hyper_representation": 1e-4,
}
"""Relative error of a hypergradient in float32 after ten inner steps."""


def kinds(section: str) -> list[str]:
    return [kind_of(member) for member in KINDS[section]]


def described(problem: str, method: str, dynamics: str, *, steps: int, precision: str = "float64") -> Experiment | None:
    """The spec; None where it is refused."""
    rate = 0.2 if dynamics in CONVERGENT else 0.05
    shape: dict[str, Any] = {"kind": dynamics, "rate": rate}
    if dynamics in ("heavy_ball", "nesterov"):
        shape["momentum"] = 0.5
    if dynamics in ("adam", "adamw", "rmsprop"):
        # The offset's gradient is zero but for rounding; with the default each step would blow that up 1e4-fold.
        shape["epsilon"] = 1e-2
    try:
        return Experiment.model_validate(
            {
                "problem": {"kind": problem, **PROBLEMS.get(problem, {})},
                "algorithm": {"steps": steps, "dynamics": shape, "hypergradient": {"kind": method}},
                "resources": {"precision": precision},
                "evaluation": {"episodes": 2},
            }
        )
    except ValidationError as error:
        if {found["type"] for found in error.errors()} != {"impossible"}:
            raise
        return None


def hypergradient(spec: Experiment, data_dir: Path, device: str = "cpu") -> Hypergradient:
    """At a random place near the initial outer variables, the same for every spec of a problem."""
    context = make_context(spec, device=device, data_dir=data_dir)
    instance = build(spec, device=device, data_dir=data_dir).instance
    generator = torch.Generator().manual_seed(4)
    lam = trees.map_leaves(
        lambda leaf: leaf + 0.05 * torch.randn(leaf.shape, generator=generator, dtype=torch.float64).to(leaf),
        instance.initial,
    )
    methods = build_method(spec, build_inner(spec.algorithm), context)
    problem, phi = instance.at(0)
    return methods.at(0, methods.init(problem, phi, lam))(problem, phi, lam, steps=spec.algorithm.steps)


def error(found: Hypergradient, expected: Hypergradient) -> float:
    """Relative."""
    grad, right = (trees.map_leaves(lambda leaf: leaf.double().cpu(), each.grad) for each in (found, expected))
    return float(trees.norm(trees.subtract(grad, right)) / trees.norm(right))


@pytest.mark.parametrize("dynamics", kinds("dynamics"))
@pytest.mark.parametrize("problem", kinds("problem"))
def test_every_method_agrees_with_the_plainest(problem: str, dynamics: str, synthetic_omniglot: Path) -> None:
    plain = described(problem, "unrolled", dynamics, steps=5)
    others = [method for method in kinds("hypergradient") if method not in (*OF_THE_LIMIT, *RANDOM, "unrolled")]
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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dynamics", kinds("dynamics"))
@pytest.mark.parametrize("method", kinds("hypergradient"))
@pytest.mark.parametrize("problem", kinds("problem"))
def test_cuda_is_the_cpu_to_round_off(problem: str, method: str, dynamics: str, synthetic_omniglot: Path) -> None:
    if (spec := described(problem, method, dynamics, steps=5)) is None:
        pytest.skip("refused")
    found = hypergradient(spec, synthetic_omniglot, "cuda")
    assert {leaf.device.type for leaf in trees.leaves(found.grad)} == {"cuda"}
    assert error(found, hypergradient(spec, synthetic_omniglot)) < 1e-8


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
    """Runs with diagnostics: every problem, and every method on the smallest of them."""
    asked: dict[str, Any] = {name: {"every": 2} for name in ("truncation", "contraction", "comparison", "direction")}
    found = []
    for problem in kinds("problem"):
        for method in kinds("hypergradient") if problem == "quadratic" else ("reverse", "implicit"):
            if (spec := described(problem, method, "gradient_descent", steps=3)) is not None:
                algorithm = spec.algorithm.model_dump(mode="json") | {"hyperiterations": 3}
                some = {} if method == "exact" else asked
                found.append(
                    Experiment.model_validate(spec.canonical() | {"algorithm": algorithm, "diagnostics": some})
                )
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
