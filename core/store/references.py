"""Whether the experiments that a spec refers to exist, have succeeded, and have what it needs."""

from uuid import UUID

from pydantic import ValidationError
from sqlalchemy.orm import Session

from core.errors import NotFound, ReferenceInvalid
from core.spec import Experiment
from core.spec.references import Reference, references, unsuited
from core.status import Status
from core.store import reading
from core.store.tables import ArtifactRow, ExperimentRow


def check_references(session: Session, spec: Experiment) -> None:
    """Looks at each of them.

    Raises:
        ReferenceInvalid: one of them does not exist, has not succeeded, has no such file, or is of another kind.
    """
    for reference in references(spec.problem):
        source, _ = find(session, reference)
        if (fault := unsuited(spec.problem, reference, source)) is not None:
            raise ReferenceInvalid(fault.reason, pointer=fault.pointer)


def find(session: Session, reference: Reference) -> tuple[Experiment, ArtifactRow]:
    """The spec of the experiment, and its file.

    Raises:
        ReferenceInvalid: there is none.
    """
    part, field = reference.part, f"{reference.pointer}/experiment"
    experiment_id = UUID(part.experiment)
    try:
        row = reading.get(session, experiment_id).row
    except NotFound as error:
        raise ReferenceInvalid(
            f"there is no experiment {part.experiment}: give the id of one that has succeeded", pointer=field
        ) from error
    if row.status != Status.SUCCEEDED:
        raise ReferenceInvalid(
            f"the experiment {part.experiment} is {row.status}: submit this one when it has succeeded, or name another",
            pointer=field,
        )
    try:
        artifact = reading.artifact(session, experiment_id, part.artifact)
    except NotFound as error:
        raise ReferenceInvalid(str(error), pointer=f"{reference.pointer}/artifact") from error
    return _spec(row, field), artifact


def _spec(row: ExperimentRow, field: str) -> Experiment:
    try:
        return Experiment.model_validate(row.spec)
    except ValidationError as error:
        raise ReferenceInvalid(
            f"the spec of the experiment {row.id} is not one that this version or its installed packages know: "
            "run it again",
            pointer=field,
        ) from error
