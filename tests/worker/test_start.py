"""A worker says what is wrong with its settings, and starts without torch."""

import subprocess
import sys

import pytest

from worker.devices import devices


def run(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "worker"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_without_addresses_it_says_what_to_set():
    ended = run({})
    assert (ended.returncode, "DATABASE_URL is empty" in ended.stderr) == (2, True)
    ended = run({"DATABASE_URL": "postgresql://somewhere/else"})
    assert (ended.returncode, "BROKER_URL is empty" in ended.stderr) == (2, True)


def test_an_unknown_device_is_named():
    ended = run({"DATABASE_URL": "postgresql://x/y", "BROKER_URL": "redis://x", "BILEVEL_DEVICES": "cpu,tpu"})
    assert ended.returncode == 2
    assert "`tpu`" in ended.stderr


def test_devices():
    assert devices("cuda:0, cuda:1") == ["cuda:0", "cuda:1"]
    assert devices("cpu") == ["cpu"]
    assert all(device == "cpu" or device.startswith("cuda:") for device in devices("auto"))
    for wrong in ("cuda", "cuda:x", "", "auto,cpu"):
        with pytest.raises(ValueError, match="BILEVEL_DEVICES"):
            devices(wrong)


def test_the_worker_itself_has_no_torch():
    code = "import sys, worker.app; assert 'torch' not in sys.modules, 'torch'"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


NO_CUDA = """
import torch

def touched(*arguments):
    raise AssertionError("CUDA touched: a child forked from here could not use it")

for name in ("_lazy_init", "is_available", "device_count", "current_device", "get_device_properties"):
    setattr(torch.cuda, name, touched)
import worker.preload, threading
assert threading.active_count() == 1
"""


def test_what_the_fork_server_loads_touches_no_cuda_and_starts_no_thread():
    subprocess.run([sys.executable, "-c", NO_CUDA], check=True, timeout=60)
