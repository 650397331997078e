"""What documents say of the client holds: code runs, and no method is forgotten."""

import re
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from bilevel_client import Client
from core.store.blobs import Blobs
from core.store.finishing import StoredArtifact

ROOT = Path(__file__).parents[2]


def test_the_code_that_loads_an_artifact_runs(
    client: Client,
    address: str,
    slot: Any,
    storage_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    experiment_id = client.submit({"problem": {"kind": "quadratic"}})["id"]
    blob = Blobs(storage_dir).put(safetensors.torch.save({"log_strength": torch.tensor([0.0, 1.0])}))
    artifact = StoredArtifact("application/octet-stream", blob)
    slot.succeed(experiment_id, slot.start(experiment_id), {}, **{"outer_variables.safetensors": artifact})

    code, listing, _ = re.findall(r"```python\n(.*?)```", (ROOT / "docs/reading-results.md").read_text(), re.DOTALL)
    for written, meant in (("http://127.0.0.1:8000", address), ("58fe3f8b", experiment_id[:8])):
        assert written in code
        code = code.replace(written, meant)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["strength"].tolist() == pytest.approx([1.0, 2.7182818])
    examples = {"rows": torch.tensor([7, 3, 5]), "weights": torch.tensor([0.5, 0.25, 1.0])}
    safetensors.torch.save_file(examples, "examples.safetensors")
    exec(listing, names)
    assert capsys.readouterr().out.splitlines() == ["3 0.25", "7 0.5", "5 1.0"]


def test_the_readme_names_every_method_of_the_client() -> None:
    (listed,) = re.findall(r"The client's methods: (.*?)\. \[", (ROOT / "README.md").read_text(), re.DOTALL)
    public = {name for name, value in vars(Client).items() if callable(value) and not name.startswith("_")}
    assert set(re.findall(r"`(\w+)`", listed)) == public - {"close"}
