"""The loop's recorder and checkpoints, kept in Postgres and the storage folder under an attempt's fence."""

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from core import plain
from core.checkpointing import Checkpoint
from core.errors import BlobInvalid, DatabaseUnreachable
from core.store import checkpoints, points
from core.store.blobs import Blobs
from core.store.points import Batch, Chunk, Told
from core.store.retrying import retrying

logger = logging.getLogger(__name__)

T = TypeVar("T")


class StoreRecorder:
    """Writes points and events about once in `flush_seconds`, and holds them back while the database is away.

    Args:
        engine: connections.
        experiment_id: whose curves.
        attempt: who writes; the fence.
        flush_seconds: time between batches.
        patience: seconds without the database after which it gives up with `DatabaseUnreachable`.
    """

    def __init__(
        self, engine: Engine, experiment_id: UUID, attempt: int, *, flush_seconds: float, patience: float
    ) -> None:
        self._engine, self._experiment_id, self._attempt = engine, experiment_id, attempt
        self._flush_seconds, self._patience = flush_seconds, patience
        self._points: dict[str, dict[int, float]] = {}
        self._events: list[Told] = []
        self._batch: Batch | None = None
        """Sealed: perhaps written, perhaps not, so to be written again exactly as it is."""
        self._tried_at = self._written_at = time.monotonic()

    def points(self, hyperiteration: int, values: Mapping[str, float]) -> None:
        """Takes one point for each named series.

        Raises:
            Fenced: another attempt holds the experiment.
            DatabaseUnreachable: the patience is spent.
        """
        for name, value in values.items():
            self._points.setdefault(name, {})[hyperiteration] = float(value)
        if time.monotonic() - self._tried_at >= self._flush_seconds:
            self._try()

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Takes an event; non-finite numbers become strings."""
        self._events.append(Told(kind, plain.data(data)))

    def flush(self) -> None:
        """Writes everything held back, waiting for the database if it has to; afterwards it is durable.

        Raises:
            Fenced: another attempt holds the experiment.
            DatabaseUnreachable: the patience is spent.
        """
        self._write(self._patience)

    def _try(self) -> None:
        try:
            self._write(0.0)
        except DatabaseUnreachable as error:
            if time.monotonic() - self._written_at > self._patience:
                raise
            logger.warning("points of %s held back: %s", self._experiment_id, error)

    def _write(self, patience: float) -> None:
        while self._seal() is not None:
            self._tried_at = time.monotonic()
            retrying(self._engine, self._write_batch, patience=patience)
            self._batch = None
        self._tried_at = self._written_at = time.monotonic()

    def _seal(self) -> Batch | None:
        if self._batch is None and (self._points or self._events):
            chunks = {
                name: Chunk(steps=sorted(values), points=[values[step] for step in sorted(values)])
                for name, values in self._points.items()
            }
            self._batch = Batch(chunks, self._events)
            self._points, self._events = {}, []
        return self._batch

    def _write_batch(self, session: Session) -> None:
        assert self._batch is not None
        points.write(session, self._experiment_id, self._attempt, self._batch)


class StoreCheckpoints:
    """Keeps the last two checkpoints; a checkpoint is stored after all points that came before it.

    Args:
        engine: connections.
        blobs: the storage folder.
        experiment_id: whose checkpoints.
        attempt: who writes; the fence.
        recorder: flushed before a checkpoint is stored.
        patience: seconds without the database after which it gives up with `DatabaseUnreachable`.
    """

    def __init__(
        self,
        engine: Engine,
        blobs: Blobs,
        experiment_id: UUID,
        attempt: int,
        *,
        recorder: StoreRecorder,
        patience: float,
    ) -> None:
        self._engine, self._blobs, self._recorder = engine, blobs, recorder
        self._experiment_id, self._attempt, self._patience = experiment_id, attempt, patience

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint whose file verifies; damaged ones are dropped with a warning.

        Raises:
            FileNotFoundError: no file of any is there, as when the storage folder is not mounted: better to wait for
                it than to begin again.
            Fenced: another attempt holds the experiment.
            DatabaseUnreachable: the patience is spent.
        """
        missing: FileNotFoundError | None = None
        for manifest in self._retrying(lambda session: checkpoints.manifests(session, self._experiment_id)):
            try:
                return Checkpoint(manifest.hyperiteration, self._blobs.get(manifest.sha256))
            except FileNotFoundError as error:
                logger.warning("checkpoint %d of %s: %s", manifest.hyperiteration, self._experiment_id, error)
                missing = error
            except BlobInvalid as error:
                logger.warning("checkpoint %d of %s: %s", manifest.hyperiteration, self._experiment_id, error)
                self._retrying(partial(self._forget, damaged=manifest))
        if missing is not None:
            raise missing
        return None

    def save(self, checkpoint: Checkpoint) -> None:
        """Keeps the checkpoint; it is durable when this returns.

        Raises:
            Fenced: another attempt holds the experiment.
            DatabaseUnreachable: the patience is spent.
        """
        self._recorder.flush()
        self._blobs.put(checkpoint.payload)
        dropped = self._retrying(lambda session: self._keep(session, checkpoint))
        if dropped:
            self._retrying(lambda session: checkpoints.sweep(session, self._blobs, dropped))

    def _keep(self, session: Session, checkpoint: Checkpoint) -> list[str]:
        checkpoints.hold(session, hashlib.sha256(checkpoint.payload).hexdigest())
        blob = self._blobs.put(checkpoint.payload)  # again, in case it was swept away before we held it
        return checkpoints.keep(session, self._experiment_id, self._attempt, checkpoint.hyperiteration, blob)

    def _forget(self, session: Session, damaged: checkpoints.Manifest) -> None:
        checkpoints.check_held(session, self._experiment_id, self._attempt)
        checkpoints.drop(session, self._experiment_id, [damaged])
        self._blobs.remove(damaged.sha256)  # so that the same content can be put there again

    def _retrying(self, action: Callable[[Session], T]) -> T:
        return retrying(self._engine, action, patience=self._patience)
