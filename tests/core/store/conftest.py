"""Experiments in a real database, without anything that runs them."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, func, select

from core.spec import Experiment
from core.store.claiming import Claim, claim
from core.store.engine import transaction
from core.store.submitting import submit
from core.store.tables import AttemptRow, EventRow, ExperimentRow, LeaseRow


class Store:
    """Shorthand for what the tests do to the database, each in a transaction of its own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def do(self, function: Callable[..., Any], *arguments: Any, **knobs: Any) -> Any:
        """A function of the store, in a transaction."""
        with transaction(self.engine) as session:
            return function(session, *arguments, **knobs)

    def submit(self, **resources: Any) -> UUID:
        """A queued experiment."""
        spec = Experiment.model_validate({"problem": {"kind": "quadratic"}, "resources": resources})
        return self.do(submit, spec).id

    def claim(self, *, slot: str = "slot", device: str = "cpu", lease_seconds: float = 60.0) -> Claim | None:
        """What a slot gets."""
        return self.do(claim, slot=slot, device=device, lease_seconds=lease_seconds)

    def row(self, experiment_id: UUID) -> ExperimentRow:
        """The experiment now."""
        return self.do(lambda session: session.get_one(ExperimentRow, experiment_id))

    def attempts(self, experiment_id: UUID) -> list[AttemptRow]:
        """Its attempts, in order."""
        statement = select(AttemptRow).where(AttemptRow.experiment_id == experiment_id).order_by(AttemptRow.number)
        return self.do(lambda session: session.scalars(statement).all())

    def events(self, experiment_id: UUID) -> list[EventRow]:
        """Its events, in order."""
        statement = select(EventRow).where(EventRow.experiment_id == experiment_id).order_by(EventRow.version)
        return self.do(lambda session: session.scalars(statement).all())

    def kinds(self, experiment_id: UUID) -> list[str]:
        """What kinds of events there are, in order."""
        return [event.kind for event in self.events(experiment_id)]

    def leases(self) -> int:
        """How many leases there are."""
        return self.do(lambda session: session.scalar(select(func.count()).select_from(LeaseRow)))


@pytest.fixture
def store(engine: Engine) -> Store:
    """The test's database."""
    return Store(engine)


@pytest.fixture
def claimed(store: Store) -> Claim:
    """An experiment that is running."""
    store.submit()
    claimed = store.claim()
    assert claimed is not None
    return claimed
