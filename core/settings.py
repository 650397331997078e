"""The only reader of the environment: with which knobs the processes run."""

import os
import re
from collections.abc import MutableMapping
from functools import cache
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import SettingsInvalid

POSTGRES = re.compile(
    r"|postgres(ql)?(\+\w+)?://([^:/]*(:[^@]*)?@)?(\[[^/?]*\]|[^/:?]*)(:\d{0,5})?(/[^?]*)?(\?.*)?", re.DOTALL
)
"""Nothing, or an address of Postgres as SQLAlchemy reads it."""
BROKERS = ("redis", "rediss", "redis+socket", "amqp", "pyamqp", "amqps")
"""Schemes of the brokers' addresses."""


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
    """If set, every request under /v1 needs `Authorization: Bearer <key>`; printable ASCII, as headers are."""

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

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, url: SecretStr) -> SecretStr:
        if not POSTGRES.fullmatch(url.get_secret_value()):
            raise ValueError("an address is `postgresql://user:password@host:port/database` (an @ in it is %40)")
        return url

    @field_validator("broker_url")
    @classmethod
    def _is_a_broker(cls, url: SecretStr) -> SecretStr:
        if not all(map(_is_broker_address, url.get_secret_value().split(";"))):  # several: kombu takes them in turn
            schemes = ", ".join(BROKERS[1:])
            raise ValueError(
                f"an address is `redis://:password@host:port/0`, or of {schemes} (@, / and # in a password are %40, "
                "%2F and %23)"
            )
        return url

    @field_validator("api_key")
    @classmethod
    def _fits_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not re.fullmatch("[!-~]+", key.get_secret_value()):
            raise ValueError("a key has letters, digits and signs of ASCII only, and no blanks")
        return key

    @model_validator(mode="after")
    def _in_time(self) -> Self:
        """A slot hears of a lost lease before anybody else may claim: else two would run one experiment."""
        if not self.heartbeat_seconds < self.abandon_seconds < self.lease_seconds:
            raise ValueError(
                f"BILEVEL_ABANDON_SECONDS ({self.abandon_seconds:g}) has to be more than BILEVEL_HEARTBEAT_SECONDS "
                f"({self.heartbeat_seconds:g}) and less than BILEVEL_LEASE_SECONDS ({self.lease_seconds:g})"
            )
        return self


def _is_broker_address(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return not address or (parts.scheme in BROKERS and (parts.port is None or parts.port > 0))
    except ValueError:  # the port is no number
        return False


@cache
def settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        SettingsInvalid: some are not possible; the message has a line for each, with the name of the variable.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsInvalid("\n".join(map(_told, error.errors()))) from None


def _told(error: ErrorDetails) -> str:
    """One line; the value of a key or an address is not shown."""
    reason = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return reason
    name = str(error["loc"][0])
    variable = f"BILEVEL_{name.upper()}" if name.islower() else name
    shown = "" if name == "api_key" or not name.islower() else f" {error['input']!r}"
    return f"{variable}{shown}: {reason[0].lower()}{reason[1:]}"


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
