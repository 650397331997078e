"""Real workers, started as the service starts them, and a look at what they wrote."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

import psutil
import psycopg
import pytest
from sqlalchemy import Engine, select

from core.settings import Settings
from core.spec import Experiment
from core.status import Status
from core.store.engine import transaction
from core.store.submitting import submit
from core.store.tables import AttemptRow, CurveChunkRow, EventRow, ExperimentRow

DEADLINE = 60.0


class Story(NamedTuple):
    """All that is stored of an experiment but its curves."""

    row: ExperimentRow
    attempts: list[AttemptRow]
    events: list[EventRow]

    @property
    def status(self) -> Status:
        return Status(self.row.status)

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    @property
    def outcomes(self) -> list[str | None]:
        return [attempt.outcome for attempt in self.attempts]


class Service:
    """A database, a broker, and workers that are real processes."""

    def __init__(self, engine: Engine, settings: Settings, logs: Path) -> None:
        self.engine, self.settings, self._logs = engine, settings, logs
        self._workers: list[psutil.Popen] = []

    def start_worker(self, program: tuple[str, str] = ("-m", "worker"), **changes: Any) -> psutil.Popen:
        """`python -m worker`, or another program, with the test's settings, some of them changed."""
        with (self._logs / f"worker-{len(self._workers)}.log").open("wb") as output:
            worker = psutil.Popen(
                [sys.executable, *program],
                env=environment(self.settings.model_copy(update=changes)),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._workers.append(worker)
        return worker

    def end(self) -> None:
        """Kills the workers, whose children follow, and shows what they logged (pytest prints it after a failure)."""
        for worker in self._workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
        for log in sorted(self._logs.glob("worker-*.log")):
            sys.stdout.write(f"--- {log.name}\n{log.read_text()}\n")

    def children(self, worker: psutil.Popen) -> list[psutil.Process]:
        """Processes that run an experiment for the worker; each leads a process group, the fork server does not."""
        processes = [process for server in worker.children() for process in server.children()]
        return [process for process in processes if os.getpgid(process.pid) == process.pid]

    def submit(self, spec: Experiment) -> UUID:
        """Stores an experiment without ringing: the reaper will."""
        with transaction(self.engine) as session:
            return submit(session, spec).id

    def story(self, experiment_id: UUID) -> Story:
        """What is stored now."""
        attempts = select(AttemptRow).where(AttemptRow.experiment_id == experiment_id).order_by(AttemptRow.number)
        events = select(EventRow).where(EventRow.experiment_id == experiment_id).order_by(EventRow.version)
        with transaction(self.engine) as session:
            row = session.get_one(ExperimentRow, experiment_id)
            return Story(row, list(session.scalars(attempts)), list(session.scalars(events)))

    def wait(self, experiment_id: UUID, condition: Callable[[Story], bool] = lambda now: now.status.terminal) -> Story:
        """Waits, at most DEADLINE seconds, until what is stored meets the condition: by default, the end."""
        deadline = time.monotonic() + DEADLINE
        while not condition(now := self.story(experiment_id)):
            assert time.monotonic() < deadline, (now.row.status, now.row.hyperiteration, now.row.error, now.kinds)
            time.sleep(0.05)
        return now

    def wait_for_progress(self, experiment_id: UUID, hyperiteration: int) -> Story:
        """Waits until it has come so far."""
        return self.wait(experiment_id, lambda now: now.row.hyperiteration >= hyperiteration or now.status.terminal)

    def curves(self, experiment_id: UUID) -> dict[str, dict[int, float]]:
        """At each hyperiteration the point of the highest attempt; without the timings."""
        rows = select(CurveChunkRow).where(CurveChunkRow.experiment_id == experiment_id)
        found: dict[str, dict[int, float]] = {}
        with transaction(self.engine) as session:
            for row in session.scalars(rows.order_by(CurveChunkRow.attempt)):
                found.setdefault(row.series, {}).update(zip(row.steps, row.points, strict=True))
        found.pop("seconds", None)
        return {name: dict(sorted(values.items())) for name, values in found.items()}


def environment(settings: Settings) -> dict[str, str]:
    """The environment that gives these settings."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("BILEVEL_")}
    fields = settings.model_dump(exclude={"database_url", "broker_url", "api_key"}, exclude_none=True)
    return {
        **own,
        **{f"BILEVEL_{name.upper()}": str(value) for name, value in fields.items()},
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "BROKER_URL": settings.broker_url.get_secret_value(),
    }


@pytest.fixture
def service(engine: Engine, settings: Settings, tmp_path: Path) -> Iterator[Service]:
    """A service without workers so far."""
    service = Service(engine, settings, tmp_path)
    yield service
    service.end()


@pytest.fixture
def database_outage(postgres: str, database_url: str) -> Callable[[], AbstractContextManager[None]]:
    """Makes blocks in which nobody can be, or get, connected to the test's database."""
    name = urlsplit(database_url).path.removeprefix("/")

    @contextmanager
    def outage() -> Iterator[None]:
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            try:
                yield
            finally:
                connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

    return outage


@pytest.fixture
def spec() -> Callable[..., Experiment]:
    """Makes quadratic experiments; a hyperiteration takes a millisecond or so for every ten steps."""

    def make(*, hyperiterations: int = 30, steps: int = 20, rate: float = 1.0, **changes: Any) -> Experiment:
        dynamics = {"kind": "gradient_descent", "rate": rate}
        algorithm = {"steps": steps, "hyperiterations": hyperiterations, "dynamics": dynamics}
        return Experiment.model_validate(
            {"problem": {"kind": "quadratic"}, "algorithm": algorithm, "evaluation": {"every": 10}, **changes}
        )

    return make
