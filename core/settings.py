"""The only reader of the environment: with which knobs the processes run."""

import os
from collections.abc import MutableMapping
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Every field is an environment variable: BILEVEL_ and its name in capitals, but for the two URLs.

    A variable that is empty counts as not set, so that an empty key is no key.
    """

    model_config = SettingsConfigDict(
        env_prefix="BILEVEL_", env_ignore_empty=True, frozen=True, use_attribute_docstrings=True
    )

    database_url: Annotated[SecretStr, Field(validation_alias="DATABASE_URL")] = SecretStr("")
    """postgresql://user:password@host/database; `bilevel up` starts a server of its own when it is empty."""
    broker_url: Annotated[SecretStr, Field(validation_alias="BROKER_URL")] = SecretStr("")
    """redis://... ; `bilevel up` starts a server of its own when it is empty."""
    storage_dir: Path = Path("~/.bilevel/storage").expanduser()
    """Folder of checkpoints and artifacts, shared by API and workers."""
    data_dir: Path = Path("~/.bilevel/data").expanduser()
    """Folder of prepared data sets, read by API and workers."""
    api_key: SecretStr | None = None
    """If set, every request under /v1 needs `Authorization: Bearer <key>`."""

    slots: Annotated[int, Field(ge=0, le=1024)] = 0
    """Experiments that a worker runs at a time; 0: one for each device (one on a CPU)."""
    devices: str = "auto"
    """`auto`, `cpu`, or a comma-separated list such as `cuda:0,cuda:1`; slots take them in turn."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """Threads of an experiment's child process; 0: cores divided by slots."""
    lease_seconds: Annotated[float, Field(gt=0)] = 45.0
    """How long an attempt holds its experiment after its last heartbeat (database clock)."""
    heartbeat_seconds: Annotated[float, Field(gt=0)] = 10.0
    """Time between heartbeats."""
    abandon_seconds: Annotated[float, Field(gt=0)] = 30.0
    """After this long without a successful heartbeat a slot kills its child; below `lease_seconds`."""
    grace_seconds: Annotated[float, Field(ge=0)] = 20.0
    """Time that a child has to write a checkpoint and stop, before it is killed."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 15.0
    """Least time between checkpoints."""
    flush_seconds: Annotated[float, Field(ge=0)] = 1.0
    """Time between batches of points."""
    reap_seconds: Annotated[float, Field(gt=0)] = 5.0
    """Time between the reaper's rounds."""
    alive_file: Path | None = None
    """If set, a worker touches it after each round of its reaper that reached the database: for health checks."""
    infrastructure_attempts: Annotated[int, Field(ge=1, le=100)] = 5
    """Attempts that may end through no fault of the experiment before it fails."""
    backoff_seconds: Annotated[float, Field(ge=0)] = 5.0
    """Wait before the second infrastructure attempt; doubles with each further one."""


@cache
def settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()


def child_environment(**knobs: str) -> dict[str, str]:
    """The environment for a process that this one starts: ours, but for the given variables."""
    return os.environ | knobs


def prepare_process(threads: int, environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets what has to be in the environment of a process before it loads torch.

    Threads sleep while they wait, so that slots do not spin against each other, but not before some ten microseconds
    have passed: to wake a thread takes longer than a small operator, and one wakes at every operator otherwise.
    glibc keeps freed memory, without which large batches lose up to half their speed to page faults.
    """
    environment["OMP_NUM_THREADS"] = environment["MKL_NUM_THREADS"] = str(threads)
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environment.setdefault("GOMP_SPINCOUNT", "10000")
    environment.setdefault("MALLOC_MMAP_MAX_", "0")
    environment.setdefault("MALLOC_TRIM_THRESHOLD_", str(1 << 33))
    environment.setdefault("MALLOC_TOP_PAD_", str(1 << 26))
    environment.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what `deterministic` needs on a CUDA device
