"""Files of other experiments, out of Postgres and the storage folder, for an experiment that runs."""

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from core.problems.artifacts import Artifact
from core.spec import Experiment
from core.spec.references import Reference
from core.spec.sources import FromExperiment
from core.store.blobs import Blobs
from core.store.references import find
from core.store.retrying import retrying


class StoreArtifacts:
    """Reads what experiments have left behind.

    Args:
        engine: connections.
        blobs: the storage folder.
        patience: seconds without the database after which it gives up with `DatabaseUnreachable`.
    """

    def __init__(self, engine: Engine, blobs: Blobs, *, patience: float) -> None:
        self._engine, self._blobs, self._patience = engine, blobs, patience

    def __call__(self, experiment: str, name: str) -> Artifact:
        """As `core.problems.artifacts.Artifacts`.

        Raises:
            ReferenceInvalid: there is no such experiment or file, or the experiment has not succeeded.
            FileNotFoundError: the file is not in the storage folder, as when that is not mounted.
            BlobInvalid: it is damaged.
            DatabaseUnreachable: the patience is spent.
        """
        reference = Reference("", FromExperiment(experiment=experiment, artifact=name))

        def found(session: Session) -> tuple[Experiment, str]:
            spec, row = find(session, reference)
            return spec, row.sha256

        spec, sha256 = retrying(self._engine, found, patience=self._patience)
        return Artifact(spec, self._blobs.get(sha256))
