"""Where kernels of our own are made, and where torch's operators compute."""

import sys
from pathlib import Path

import pytest
import torch

from core.bilevel import kernels


@pytest.fixture
def triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "find_spec", lambda name: object())


@pytest.mark.usefixtures("triton")
@pytest.mark.parametrize(("found", "headers"), [("gcc", True), ("clang", True), (None, True), ("gcc", False)])
def test_triton_needs_a_compiler_and_headers(
    found: str | None, headers: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if headers:
        (tmp_path / "Python.h").touch()
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(kernels.sysconfig, "get_paths", lambda scheme: {"include": str(tmp_path)})
    monkeypatch.setattr(kernels.shutil, "which", lambda name: name if name == found else None)
    assert kernels.compiles.__wrapped__() is (found is not None and headers)
    monkeypatch.setenv("CC", sys.executable)
    assert kernels.compiles.__wrapped__() is headers


def test_a_cpu_has_none() -> None:
    assert not kernels.available(torch.device("cpu"))


@pytest.mark.parametrize(("capability", "enough"), [((7, 5), False), ((8, 0), True), ((9, 0), True), ((12, 0), True)])
def test_a_gpu_has_to_be_new_enough(capability: tuple[int, int], enough: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "compiles", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    kernels._new_enough.cache_clear()
    assert kernels.available(torch.device("cuda:0")) is enough
    kernels._new_enough.cache_clear()
