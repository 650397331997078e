"""Data sets of what is submitted: whether they can be read here, and which field is to blame if not."""

from pathlib import Path

from api.errors import Refusal, blaming
from core.datasets.finding import dataset_of, require
from core.errors import DataInvalid, DataMissing
from core.spec import Experiment
from core.spec.grids import described
from core.spec.sweep import Member


def require_data(experiment: Experiment, data_dir: Path) -> None:
    """Makes sure that the data of an experiment can be read.

    Raises:
        Refusal: 422, they cannot; the message says what to do.
    """
    try:
        require(experiment.problem, data_dir)
    except (DataMissing, DataInvalid) as error:
        place, _ = dataset_of(experiment.problem)
        raise _refusal(error, f"/problem/{place}", str(error)) from error


def require_data_of_member(member: Member, data_dir: Path) -> None:
    """The same for a member of a sweep, whose data set the base or the grid may have chosen."""
    try:
        require(member.experiment.problem, data_dir)
    except (DataMissing, DataInvalid) as error:
        path = f"problem.{dataset_of(member.experiment.problem)[0].replace('/', '.')}"
        chosen = any(f"{path}.".startswith(f"{given}.") or given.startswith(f"{path}.") for given in member.parameters)
        if chosen:
            raise _refusal(error, "/grid", f"{described(member.parameters)}: {error}") from error
        raise _refusal(error, f"/base/{path.replace('.', '/')}", str(error)) from error


def _refusal(error: DataMissing | DataInvalid, pointer: str, detail: str) -> Refusal:
    return blaming(422, error.code, {"pointer": pointer, "detail": detail})
