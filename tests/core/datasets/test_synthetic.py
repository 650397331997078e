"""The regression of appendix C: its data, and that there a larger T is better."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from core.checkpointing import MemoryCheckpoints
from core.datasets.synthetic import load
from core.recording import MemoryRecorder
from core.run import Finished, run
from core.spec import Experiment
from core.spec.datasets import SyntheticRegression

EXAMPLE = Path(__file__).parents[3] / "examples/synthetic_ridge.json"


def test_the_data_are_a_function_of_their_own_seed() -> None:
    one, same, other = (load(SyntheticRegression(seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(one.x, same.x)
    assert torch.equal(one.y, same.y)
    assert not torch.equal(one.y, other.y)


def test_only_the_relevant_features_matter() -> None:
    table = load(SyntheticRegression(points=200, relevant=3, irrelevant=4, noise=0.0))
    w = torch.linalg.lstsq(table.x, table.y).solution
    torch.testing.assert_close(table.x @ w, table.y)
    assert w[3:].abs().max() < 1e-12 < w[:3].abs().min()
    noisy = load(SyntheticRegression(points=20_000, relevant=3, irrelevant=0, noise=0.5))
    rest = noisy.y - noisy.x @ torch.linalg.lstsq(noisy.x, noisy.y).solution
    assert float(rest.std()) == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_larger_t_is_better(seed: int, tmp_path: Path) -> None:
    """Test error after 100 hyperiterations of the example, data and split drawn by the seed."""

    def error(steps: int) -> float:
        spec: dict[str, Any] = json.loads(EXAMPLE.read_text())
        spec["seed"] = spec["problem"]["dataset"]["seed"] = seed
        spec["algorithm"]["steps"], spec["evaluation"]["every"] = steps, 100
        done = run(
            Experiment.model_validate(spec),
            device="cpu",
            data_dir=tmp_path,
            recorder=MemoryRecorder(),
            checkpoints=MemoryCheckpoints(),
        )
        assert isinstance(done, Finished)
        mean: float = done.result["final"]["test"]["loss"]["mean"]
        return mean

    errors = [error(steps) for steps in (1, 4, 16, 64, 256)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[2]
