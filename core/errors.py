"""The few exceptions of the library; each docstring is the default message."""

from typing import ClassVar, Literal

Category = Literal["user", "infrastructure", "timeout"]


class BilevelError(Exception):
    """Something went wrong in Bilevel."""

    code: ClassVar[str] = "error"
    category: ClassVar[Category] = "user"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class SettingsInvalid(BilevelError):
    """An environment variable is not possible."""

    code = "settings_invalid"


class Diverged(BilevelError):
    """The hypergradient is not finite: lower the rate of the inner dynamics or of the outer optimizer."""

    code = "diverged"

    def __init__(self, message: str | None = None, *, hyperiteration: int) -> None:
        super().__init__(message)
        self.hyperiteration = hyperiteration


class DataMissing(BilevelError):
    """The data set is not in BILEVEL_DATA_DIR: see `bilevel data list`."""

    code = "data_missing"


class DataInvalid(BilevelError):
    """The data set's file is not what its schema says: prepare it again with `bilevel data prepare`."""

    code = "data_invalid"


class ProblemInvalid(BilevelError):
    """What a package's code gives for its problem is not what was agreed on."""

    code = "problem_invalid"


class SplitInvalid(BilevelError):
    """What the seed draws does not fit the problem: choose another seed, or draw more."""

    code = "split_invalid"


class ReferenceInvalid(BilevelError):
    """Another experiment that the spec refers to does not have what is asked of it."""

    code = "reference_invalid"

    def __init__(self, message: str | None = None, *, pointer: str | None = None) -> None:
        super().__init__(message)
        self.pointer = pointer
        """The field of the spec that is to blame."""


class CheckpointInvalid(BilevelError):
    """The checkpoint does not fit the experiment."""

    code = "checkpoint_invalid"
    category = "infrastructure"


class Fenced(BilevelError):
    """Another attempt holds this experiment: nothing more may be written for this one."""

    code = "fenced"
    category = "infrastructure"


class NotFound(BilevelError):
    """There is no such experiment."""

    code = "not_found"


class Conflict(BilevelError):
    """The experiment's state does not allow this."""

    code = "conflict"


class IdempotencyConflict(BilevelError):
    """This Idempotency-Key was used with another body: send a new key."""

    code = "idempotency_conflict"


class BrokerUnreachable(BilevelError):
    """The broker did not take the hint; the experiment is queued and will be rung again."""

    code = "broker_unreachable"
    category = "infrastructure"


class BlobInvalid(BilevelError):
    """A stored file is missing or is not what its hash says."""

    code = "blob_invalid"
    category = "infrastructure"


class DatabaseUnreachable(BilevelError):
    """The database did not answer in time."""

    code = "database_unreachable"
    category = "infrastructure"
