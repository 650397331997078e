"""Every problem and every learner from an example to its result: over HTTP, by real children, killed on their way."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import and_, func, select

from bilevel_client import Client
from core.settings import Settings
from core.spec import KINDS, kind_of
from core.status import Status
from core.store.engine import transaction
from core.store.tables import AttemptRow, ExperimentRow
from tests.core.conftest import synthetic_omniglot  # noqa: F401
from tests.test_examples import FOLDER, read, shortened

pytestmark = pytest.mark.service

SECONDS = 600

EXAMPLES = {
    "quadratic_exact.json": 200,
    "srba_quadratics.json": 150,
    "mlp_learned_rate.json": 6,
    "ridge_cross_validated.json": 75,
    "real_time_rate.json": 6,
    "hyper_cleaning_digits.json": 50,
    "hyper_cleaning_clipped.json": 50,
    "saba_logistic.json": 200,
    "learned_data_digits.json": 15,
    "learned_optimizer_quadratics.json": 15,
    "learned_optimizer_mlp.json": 20,
    "effect_of_t.json": 15,
    "omniglot_5way_1shot.json": 25,
    "omniglot_alphabets.json": 15,
    "omniglot_anil.json": 20,
    "omniglot_approx.json": 25,
    "omniglot_approx_train.json": 25,
    "omniglot_bilevel_train.json": 25,
    "omniglot_classic.json": 30,
    "omniglot_cross_fitting.json": 40,
    "omniglot_first_order_maml.json": 10,
    "omniglot_imaml.json": 6,
    "omniglot_implicit.json": 15,
    "omniglot_maml.json": 10,
    "omniglot_meta_sgd.json": 10,
    "omniglot_multiclass.json": 20,
    "omniglot_prototypes.json": 25,
    "omniglot_reptile.json": 10,
    "omniglot_ridge.json": 25,
}
"""File -> hyperiterations: a quarter of a second or more, so that it can be killed between the first and the last."""


def small(name: str) -> dict[str, Any]:
    """The example with less to do, and a small network."""
    spec = shortened(read(FOLDER / name)).canonical()
    spec["algorithm"]["hyperiterations"] = EXAMPLES[name]
    spec["evaluation"]["every"] = EXAMPLES[name]
    if spec["problem"].get("model", {}).get("kind") == "conv4":
        spec["problem"]["model"]["filters"] = 4
    return spec


def test_every_kind_of_problem_is_there() -> None:
    assert {small(name)["problem"]["kind"] for name in EXAMPLES} == {kind_of(kind) for kind in KINDS["problem"]}


@pytest.fixture
def settings(settings: Settings, synthetic_omniglot: Path, tmp_path: Path) -> Settings:  # noqa: F811
    """With a data folder that has those images as the characters of 50 alphabets."""
    with np.load(synthetic_omniglot / "omniglot-28.npz") as stored:
        alphabet = np.sort(np.arange(len(stored["names"])) % 50).astype(np.uint8)
        names = np.array([f"Alphabet{number}/character{i}" for i, number in enumerate(alphabet)])
        arrays = {**stored, "names": names, "alphabet": alphabet, "background": alphabet < 30}
    np.savez(tmp_path / "omniglot-28.npz", **arrays)
    return settings.model_copy(update={"data_dir": tmp_path})


@pytest.mark.timeout(SECONDS + 60)
def test_killed_on_its_way_it_gives_what_it_gives_undisturbed(service, address: str) -> None:
    workers = [service.start_worker(checkpoint_seconds=0.02) for _ in range(2)]
    with Client(address) as client:
        pairs = {name: [UUID(client.submit(small(name))["id"]) for _ in range(2)] for name in EXAMPLES}
        kill_each_once(service, workers, {disturbed for _, disturbed in pairs.values()})
        on_the_way = 0
        for name, (whole, disturbed) in pairs.items():
            ends = [service.wait(each) for each in (whole, disturbed)]
            assert [end.status for end in ends] == [Status.SUCCEEDED] * 2, (name, [end.row.error for end in ends])
            assert list(service.curves(whole)["outer_objective"]) == list(range(EXAMPLES[name])), name
            assert service.curves(disturbed) == service.curves(whole), name
            first, second = (client.result(str(each)) for each in (whole, disturbed))
            for part in ("best", "final", "test"):
                assert first[part] == second[part], name
            assert files(client, disturbed) == files(client, whole), name
            on_the_way += any(event.kind == "resumed" and event.data["hyperiteration"] > 0 for event in ends[1].events)
    assert on_the_way > len(EXAMPLES) / 2


def kill_each_once(service, workers: list[Any], experiments: set[UUID]) -> None:
    """Kills the first child of each when it has come a third of the way; returns when all have ended."""
    by_process = {str(worker.pid): worker for worker in workers}
    far = and_(ExperimentRow.hyperiteration * 3 > ExperimentRow.hyperiterations, AttemptRow.number == 1)
    running = select(AttemptRow.experiment_id, AttemptRow.slot).join(ExperimentRow).where(far)
    running = running.where(AttemptRow.outcome.is_(None), AttemptRow.experiment_id.in_(experiments))
    unfinished = select(func.count()).where(ExperimentRow.status.in_([Status.QUEUED, Status.RUNNING]))
    deadline = time.monotonic() + SECONDS
    left = len(experiments)
    while left:
        assert time.monotonic() < deadline, f"{left} have not ended"
        with transaction(service.engine) as session:
            found, left = session.execute(running).all(), session.scalar(unfinished)
        for _, slot in found:
            for child in service.children(by_process[slot.split("/")[1]]):
                child.kill()
        time.sleep(0.05)


def files(client: Client, experiment_id: UUID) -> Mapping[str, bytes]:
    """The artifacts by name."""
    names = [each["name"] for each in client.artifacts(str(experiment_id))]
    return {name: client.artifact(str(experiment_id), name) for name in names}
