"""The tables: what is kept, and the constraints that keep it true."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from core.status import Status

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

_statuses = ", ".join(f"'{status}'" for status in Status)


class Base(DeclarativeBase):
    """Base of all tables: text without length, timestamps with time zone, JSON as jsonb."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012
        str: Text,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(none_as_null=True),
    }


class ExperimentRow(Base):
    """One experiment: its spec, where it stands, what it reached. The row is the truth."""

    __tablename__ = "experiments"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    labels: Mapped[dict[str, Any]]
    kind: Mapped[str]
    """Kind of its problem, to filter by."""
    spec: Mapped[dict[str, Any]]
    spec_sha256: Mapped[str]
    device: Mapped[str]
    """What the spec asks for: auto, cpu or cuda."""
    priority: Mapped[int] = mapped_column(SmallInteger)
    status: Mapped[str] = mapped_column(server_default=text("'queued'"))
    version: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))
    """Rises with every change; the ETag, and the number of the event that told of the change."""
    attempt: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    """Attempts so far; the current attempt's number while one runs. Also the fence."""
    losses: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    """Attempts that ended through no fault of the experiment."""
    hyperiteration: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    """Hyperiterations whose points are stored."""
    hyperiterations: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    available_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """Not claimed before this time (backoff)."""
    started_at: Mapped[datetime | None]
    """When the first attempt began."""
    finished_at: Mapped[datetime | None]
    error: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]

    __table_args__ = (
        CheckConstraint(f"status IN ({_statuses})", name="status"),
        CheckConstraint(
            "(status IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)", name="finished"
        ),
        CheckConstraint("(status = 'succeeded') = (result IS NOT NULL)", name="result"),
        CheckConstraint("(status = 'failed') = (error IS NOT NULL)", name="error"),
        Index("ix_experiments_created_at_id", "created_at", "id"),
        Index(
            "ix_experiments_claim",
            text("priority DESC"),
            "created_at",
            "id",
            postgresql_where=text("status = 'queued'"),
        ),
        Index("ix_experiments_labels", "labels", postgresql_using="gin"),
    )


class AttemptRow(Base):
    """One attempt to run an experiment."""

    __tablename__ = "attempts"

    experiment_id: Mapped[UUID] = mapped_column(ForeignKey(ExperimentRow.id, ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    slot: Mapped[str]
    """Who runs it: host, process, slot."""
    device: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    """succeeded, failed, cancelled, lost or released; empty while it runs."""
    error: Mapped[dict[str, Any] | None]

    __table_args__ = (
        CheckConstraint("(outcome IS NULL) = (ended_at IS NULL)", name="ended"),
        Index(
            "uq_attempts_one_success",
            "experiment_id",
            unique=True,
            postgresql_where=text("outcome = 'succeeded'"),
        ),
        Index("uq_attempts_one_running", "experiment_id", unique=True, postgresql_where=text("outcome IS NULL")),
    )


class LeaseRow(Base):
    """Who holds an experiment until when; a table of its own, so that heartbeats never wait behind points."""

    __tablename__ = "leases"

    experiment_id: Mapped[UUID] = mapped_column(ForeignKey(ExperimentRow.id, ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int]
    slot: Mapped[str]
    lease_until: Mapped[datetime] = mapped_column(index=True)


def _made_by_an_attempt() -> ForeignKeyConstraint:
    """Of a table with the columns experiment_id and attempt."""
    return ForeignKeyConstraint(
        ["experiment_id", "attempt"], [AttemptRow.experiment_id, AttemptRow.number], ondelete="CASCADE"
    )


class CurveChunkRow(Base):
    """Some consecutive points of one series, written by one attempt."""

    __tablename__ = "curve_chunks"

    experiment_id: Mapped[UUID] = mapped_column(primary_key=True)
    series: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    first: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    """Hyperiteration of the first point."""
    last: Mapped[int] = mapped_column(BigInteger)
    """Hyperiteration of the last point."""
    steps: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    """Hyperiterations, rising."""
    points: Mapped[list[float]] = mapped_column(ARRAY(Double))
    """Values; NaN and infinities are kept."""

    __table_args__ = (
        _made_by_an_attempt(),
        CheckConstraint("cardinality(steps) = cardinality(points) AND cardinality(steps) > 0", name="same_length"),
    )


class CheckpointRow(Base):
    """A checkpoint's manifest: written after the blob is durable."""

    __tablename__ = "checkpoints"

    experiment_id: Mapped[UUID] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    hyperiteration: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    sha256: Mapped[str] = mapped_column(index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (_made_by_an_attempt(),)


class ArtifactRow(Base):
    """A file that an experiment made, kept as a blob."""

    __tablename__ = "artifacts"

    experiment_id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    media_type: Mapped[str]
    sha256: Mapped[str] = mapped_column(index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (_made_by_an_attempt(),)


class EventRow(Base):
    """Something that happened to an experiment; its number is the experiment's version at that time."""

    __tablename__ = "events"

    experiment_id: Mapped[UUID] = mapped_column(ForeignKey(ExperimentRow.id, ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    kind: Mapped[str]
    data: Mapped[dict[str, Any]]


class SweepRow(Base):
    """One sweep: what its members were made from."""

    __tablename__ = "sweeps"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    labels: Mapped[dict[str, Any]]
    spec: Mapped[dict[str, Any]] = mapped_column(JSON)
    """Not jsonb, which would not keep the order of the grid."""
    spec_sha256: Mapped[str]
    members: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        CheckConstraint("members > 0", name="members"),
        Index("ix_sweeps_created_at_id", "created_at", "id"),
        Index("ix_sweeps_labels", "labels", postgresql_using="gin"),
    )


class SweepMemberRow(Base):
    """An experiment that is a member of a sweep; a member that was retried has several, of which the last counts."""

    __tablename__ = "sweep_members"

    sweep_id: Mapped[UUID] = mapped_column(ForeignKey(SweepRow.id, ondelete="CASCADE"), primary_key=True)
    member: Mapped[int] = mapped_column(primary_key=True)
    """Its number in the order of the grid, from 0."""
    trial: Mapped[int] = mapped_column(primary_key=True)
    """From 1."""
    experiment_id: Mapped[UUID] = mapped_column(ForeignKey(ExperimentRow.id, ondelete="CASCADE"), unique=True)
    parameters: Mapped[dict[str, Any]] = mapped_column(JSON)
    """Field -> value, in the order of the grid, and `seed`."""

    __table_args__ = (CheckConstraint("member >= 0 AND trial > 0", name="numbers"),)


class IdempotencyRow(Base):
    """The answer that was given to an Idempotency-Key."""

    __tablename__ = "idempotency_keys"

    caller: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    """What was submitted: a key of one route is free on the other."""
    key: Mapped[str] = mapped_column(primary_key=True)
    body_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    experiment_id: Mapped[UUID | None] = mapped_column(ForeignKey(ExperimentRow.id, ondelete="CASCADE"))
    sweep_id: Mapped[UUID | None] = mapped_column(ForeignKey(SweepRow.id, ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (
        CheckConstraint(
            "(route = 'experiments' AND experiment_id IS NOT NULL AND sweep_id IS NULL)"
            " OR (route = 'sweeps' AND sweep_id IS NOT NULL AND experiment_id IS NULL)",
            name="route",
        ),
    )
