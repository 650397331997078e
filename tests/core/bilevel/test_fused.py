"""Where kernels of our own are made, and where torch's operators compute."""

from pathlib import Path

import pytest
import torch

from core.bilevel import fused


@pytest.fixture
def triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "find_spec", lambda name: object())


@pytest.mark.usefixtures("triton")
@pytest.mark.parametrize(("found", "headers"), [("gcc", True), ("clang", True), (None, True), ("gcc", False)])
def test_triton_needs_a_compiler_and_headers(
    found: str | None, headers: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if headers:
        (tmp_path / "Python.h").touch()
    monkeypatch.setattr(fused.sysconfig, "get_paths", lambda scheme: {"include": str(tmp_path)})
    monkeypatch.setattr(fused.shutil, "which", lambda name: name if name == found else None)
    assert fused.compiles.__wrapped__() is (found is not None and headers)


def test_a_cpu_has_none() -> None:
    assert not fused.available(torch.device("cpu"))


@pytest.mark.parametrize(("capability", "enough"), [((7, 5), False), ((8, 0), True), ((9, 0), True), ((12, 0), True)])
def test_a_gpu_has_to_be_new_enough(capability: tuple[int, int], enough: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "compiles", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    fused._new_enough.cache_clear()
    assert fused.available(torch.device("cuda:0")) is enough
    fused._new_enough.cache_clear()
