"""A spec that refers to another experiment is refused where that has not what it needs, with the field and a remedy."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.settings import Settings
from core.store.blobs import Blobs
from core.store.finishing import StoredArtifact
from tests.conftest import Slot
from tests.core.conftest import synthetic_omniglot  # noqa: F401

FEW_SHOT: dict[str, Any] = {"problem": {"kind": "hyper_representation", "model": {"kind": "conv4", "filters": 3}}}
FILE = "outer_variables.safetensors"


@pytest.fixture
def client(
    settings: Settings,
    synthetic_omniglot: Path,  # noqa: F811
    serve: Callable[[Settings], AbstractContextManager[str]],
) -> Iterator[httpx.Client]:
    """A client of a server that has Omniglot."""
    with (
        serve(settings.model_copy(update={"data_dir": synthetic_omniglot})) as address,
        httpx.Client(base_url=address, timeout=20) as client,
    ):
        yield client


def on_top(experiment_id: str, **changes: Any) -> dict[str, Any]:
    features = {"kind": "experiment", "experiment": experiment_id, "size": 12, **changes}
    return {"problem": {"kind": "linear_representation", "features": features}}


def submit(client: httpx.Client, spec: dict[str, Any]) -> str:
    answer = client.post("/v1/experiments", json=spec)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def succeed(slot: Slot, settings: Settings, experiment_id: str) -> None:
    blob = Blobs(settings.storage_dir).put(b"tensors")
    files = {FILE: StoredArtifact("application/octet-stream", blob)}
    slot.succeed(experiment_id, slot.start(experiment_id), {"best": {}}, **files)


def refused(client: httpx.Client, spec: dict[str, Any]) -> tuple[str, str]:
    """Pointer and message, the same from a submission and from a plan."""
    answers = [client.post(f"/v1/experiments{verb}", json=spec) for verb in ("", ":plan")]
    assert [answer.status_code for answer in answers] == [422, 422]
    one, other = (answer.json() for answer in answers)
    assert one == other
    assert one["code"] == "reference_invalid"
    (error,) = one["errors"]
    assert one["detail"] == f"{error['pointer']}: {error['detail']}"
    return error["pointer"], error["detail"]


def test_one_that_has_succeeded_is_taken(client: httpx.Client, slot: Slot, settings: Settings) -> None:
    few_shot = submit(client, FEW_SHOT)
    succeed(slot, settings, few_shot)
    submit(client, on_top(few_shot))
    more = {"kind": "omniglot", "reflections": True}  # the same characters are held out
    submit(client, {"problem": {**on_top(few_shot)["problem"], "dataset": more}})
    start = {"kind": "experiment", "experiment": few_shot}
    submit(client, {"problem": {**FEW_SHOT["problem"], "start": start}})
    assert client.post("/v1/experiments:plan", json=on_top(few_shot)).status_code == 200


def test_each_lack_is_named_with_its_field_and_remedy(client: httpx.Client, slot: Slot, settings: Settings) -> None:
    nobody = "00000000-0000-4000-8000-000000000000"
    pointer, detail = refused(client, on_top(nobody))
    assert pointer == "/problem/features/experiment"
    assert f"there is no experiment {nobody}: give the id of one that has succeeded" in detail

    few_shot = submit(client, FEW_SHOT)
    pointer, detail = refused(client, on_top(few_shot))
    assert pointer == "/problem/features/experiment"
    assert "is queued: submit this one when it has succeeded" in detail
    succeed(slot, settings, few_shot)

    pointer, detail = refused(client, on_top(few_shot, artifact="weights.safetensors"))
    assert pointer == "/problem/features/artifact"
    assert f"there are: `{FILE}`" in detail
    pointer, detail = refused(client, on_top(few_shot, size=256))
    assert (pointer, "set `size` to 12" in detail) == ("/problem/features/size", True)
    other = {"kind": "conv4", "filters": 4}
    start = {"kind": "experiment", "experiment": few_shot}
    pointer, detail = refused(client, {"problem": {**FEW_SHOT["problem"], "model": other, "start": start}})
    assert (pointer, "give the same model" in detail) == ("/problem/model", True)
    assert '{"kind": "conv4", ' in detail, "as it is written in a spec"
    pointer, detail = refused(client, {"problem": {**on_top(few_shot)["problem"], "dataset": {"rotations": False}}})
    assert (pointer, "give the same data set" in detail) == ("/problem/dataset", True)
    assert '"rotations": true' in detail

    toy = submit(client, {"problem": {"kind": "quadratic"}})
    succeed(slot, settings, toy)
    pointer, detail = refused(client, on_top(toy))
    assert (pointer, "name one of the kind `hyper_representation`" in detail) == ("/problem/features/experiment", True)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"experiment": "../../etc"}, "experiment"),
        ({"artifact": "model.pkl"}, "artifact"),
        ({"artifact": "../a.safetensors"}, "artifact"),
    ],
)
def test_only_ids_and_safetensors_can_be_named(client: httpx.Client, changes: dict[str, Any], field: str) -> None:
    spec = on_top("00000000-0000-4000-8000-000000000000")
    spec["problem"]["features"] |= changes
    answer = client.post("/v1/experiments", json=spec)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"/problem/features/{field}"]


def test_of_a_sweep_the_base_or_the_grid_is_to_blame(client: httpx.Client) -> None:
    nobody = "00000000-0000-4000-8000-000000000000"

    def blamed(**sweep: Any) -> tuple[str, str]:
        answer = client.post("/v1/sweeps", json=sweep)
        assert (answer.status_code, answer.json()["code"]) == (422, "reference_invalid")
        (error,) = answer.json()["errors"]
        return error["pointer"], error["detail"]

    pointer, detail = blamed(base=on_top(nobody), seeds=[0, 1])
    assert pointer == "/base/problem/features/experiment"
    assert f"there is no experiment {nobody}" in detail
    pixels = {"kind": "pixels", "size": 12}
    base = {"problem": {**on_top(nobody)["problem"], "features": pixels}}
    pointer, detail = blamed(base=base, grid={"problem.features": [pixels, on_top(nobody)["problem"]["features"]]})
    assert pointer == "/grid"
    assert detail.startswith("features=experiment")
    assert f"there is no experiment {nobody}" in detail
    assert client.get("/v1/sweeps").json()["items"] == []
