"""An experiment that builds on another one's file: run by real children, stopped, resumed, the same to the bit."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import safetensors.torch

from core.spec import Experiment
from core.status import Status
from core.store import reading
from core.store.blobs import Blobs
from core.store.engine import transaction
from tests.core.conftest import synthetic_omniglot  # noqa: F401

pytestmark = pytest.mark.service

GD = {"kind": "gradient_descent", "rate": 0.02}
FEW_SHOT: dict[str, Any] = {
    "problem": {
        "kind": "hyper_representation",
        "model": {"kind": "conv4", "filters": 3, "norm_scale": False},
        "query": 2,
        "meta_batch": 2,
    },
    "algorithm": {"steps": 2, "hyperiterations": 3, "dynamics": GD},
    "evaluation": {"episodes": 2},
    "seed": 7,
}


def on_top(experiment_id: UUID) -> Experiment:
    """Linear representations of the features that the experiment has learned."""
    features = {"kind": "experiment", "experiment": str(experiment_id), "size": 12}
    return Experiment.model_validate(
        {
            "problem": {"kind": "linear_representation", "classes": 5, "features": features},
            "algorithm": {
                "steps": 4,
                "hyperiterations": 400,
                "dynamics": {**GD, "rate": 0.5},
                "optimizer": {"kind": "momentum", "rate": 0.1},
            },
            "evaluation": {"every": 100},
        }
    )


def test_features_that_another_experiment_has_learned(service, synthetic_omniglot: Path):  # noqa: F811
    often = {"data_dir": synthetic_omniglot, "checkpoint_seconds": 0.1}
    worker = service.start_worker(**often)
    few_shot = service.submit(Experiment.model_validate(FEW_SHOT))
    done = service.wait(few_shot)
    assert done.status is Status.SUCCEEDED, done.row.error

    whole = service.submit(on_top(few_shot))
    done = service.wait(whole)
    assert done.status is Status.SUCCEEDED, done.row.error
    curves = service.curves(whole)
    assert list(curves["test/accuracy"]) == [0, 100, 200, 300, 400]
    assert curves["outer_objective"][399] < curves["outer_objective"][0]

    stopped = service.submit(on_top(few_shot))
    service.wait_for_progress(stopped, 20)
    worker.terminate()
    assert worker.wait(30) == 0
    assert service.story(stopped).outcomes == ["released"]
    service.start_worker(**often)
    done = service.wait(stopped)
    assert done.outcomes == ["released", "succeeded"]
    assert service.curves(stopped) == curves
    found, expected = file_of(service, stopped), file_of(service, whole)
    assert found == expected
    assert safetensors.torch.load(found)["H"].shape == (12, 12)


def test_a_file_that_is_gone_waits_for_the_storage(service, synthetic_omniglot: Path):  # noqa: F811
    service.start_worker(data_dir=synthetic_omniglot, infrastructure_attempts=2)
    few_shot = service.submit(Experiment.model_validate(FEW_SHOT))
    assert service.wait(few_shot).status is Status.SUCCEEDED
    with transaction(service.engine) as session:
        sha256 = reading.artifact(session, few_shot, "outer_variables.safetensors").sha256
    Blobs(service.settings.storage_dir).remove(sha256)
    done = service.wait(service.submit(on_top(few_shot)))
    assert done.status is Status.FAILED
    assert done.outcomes == ["lost", "lost"], "it is tried again: the folder may be back"
    assert sha256 in done.row.error["message"]


def file_of(service, experiment_id: UUID) -> bytes:
    """The outer variables that it left behind."""
    with transaction(service.engine) as session:
        row = reading.artifact(session, experiment_id, "outer_variables.safetensors")
    return Blobs(service.settings.storage_dir).get(row.sha256)
