"""Results and artifacts."""

import hashlib
from pathlib import Path
from typing import Any

import httpx

from core.store import finishing
from core.store.blobs import Blobs

RESULT = {"best": {"hyperiteration": 3}, "test": {"accuracy": {"mean": 0.5, "ci95": "NaN", "episodes": 2}}}


def test_the_result_of_success(client: httpx.Client, submitted: str, slot: Any) -> None:
    slot.succeed(submitted, slot.start(submitted), RESULT)
    answer = client.get(f"/v1/experiments/{submitted}/result")
    assert answer.status_code == 200
    assert answer.json() == RESULT
    assert client.get(f"/v1/experiments/{submitted}").json()["progress"]["fraction"] == 1.0


def test_no_result_yet(client: httpx.Client, submitted: str, slot: Any) -> None:
    for status in ("queued", "running"):
        answer = client.get(f"/v1/experiments/{submitted}/result")
        assert answer.status_code == 409
        assert answer.json()["code"] == "not_finished"
        assert answer.json()["experiment_status"] == status
        assert answer.headers["Retry-After"] == "1"
        if status == "queued":
            slot.start(submitted)


def test_no_result_ever(client: httpx.Client, submitted: str, slot: Any) -> None:
    slot.fail(submitted, slot.start(submitted), finishing.Failure("user", "diverged", "Lower the rate."))
    answer = client.get(f"/v1/experiments/{submitted}/result")
    assert answer.status_code == 409
    assert answer.json()["code"] == "no_result"
    assert "Lower the rate." in answer.json()["detail"]

    client_side = client.post("/v1/experiments", json={"problem": {"kind": "quadratic"}}).json()["id"]
    client.post(f"/v1/experiments/{client_side}:cancel")
    assert "was cancelled" in client.get(f"/v1/experiments/{client_side}/result").json()["detail"]


def test_artifacts(client: httpx.Client, submitted: str, slot: Any, storage_dir: Path) -> None:
    content = b"tensors" * 1000
    artifact = finishing.StoredArtifact("application/octet-stream", Blobs(storage_dir).put(content))
    slot.succeed(submitted, slot.start(submitted), RESULT, **{"outer_variables.safetensors": artifact})

    (listed,) = client.get(f"/v1/experiments/{submitted}/artifacts").json()["artifacts"]
    sha256 = hashlib.sha256(content).hexdigest()
    assert listed["name"] == "outer_variables.safetensors"
    assert (listed["size"], listed["sha256"], listed["attempt"]) == (len(content), sha256, 1)

    answer = client.get(listed["links"]["content"])
    assert answer.content == content
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["ETag"] == f'"{sha256}"'
    assert 'filename="outer_variables.safetensors"' in answer.headers["Content-Disposition"]
    assert client.get(listed["links"]["content"], headers={"If-None-Match": f'"{sha256}"'}).status_code == 304
    head = client.head(listed["links"]["content"])
    assert (head.status_code, head.headers["ETag"], head.content) == (200, f'"{sha256}"', b"")
    assert client.get(listed["links"]["content"], headers={"Range": "bytes=0-6"}).content == b"tensors"

    missing = client.get(f"/v1/experiments/{submitted}/artifacts/weights")
    assert missing.status_code == 404
    assert "`outer_variables.safetensors`" in missing.json()["detail"]

    Blobs(storage_dir).remove(sha256)
    lost = client.get(listed["links"]["content"])
    assert lost.status_code == 500
    assert lost.json()["code"] == "artifact_lost"


def test_no_artifacts(client: httpx.Client, submitted: str) -> None:
    assert client.get(f"/v1/experiments/{submitted}/artifacts").json() == {"artifacts": []}
