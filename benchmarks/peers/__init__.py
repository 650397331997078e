"""The same workloads written with other libraries, as their documentation teaches; they come with the extra `bench`."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any


def peers(workload: str) -> Any:
    """The module of peers for a workload; None where the extra `bench` is not installed."""
    return import_module(f"benchmarks.peers.{workload}") if find_spec("higher") and find_spec("jax") else None
