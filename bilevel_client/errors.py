"""What can go wrong when one speaks with the service: one class for each thing that a program does about it."""

from collections.abc import Mapping, Sequence
from typing import Any


class ServiceError(Exception):
    """The service refused or failed."""

    def __init__(self, detail: str, *, status: int | None = None, problem: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        """HTTP status; None: there was no answer."""
        self.problem: Mapping[str, Any] = problem or {}
        """The answer as it came (RFC 9457)."""

    @property
    def code(self) -> str:
        """The problem's code, for programs."""
        return str(self.problem.get("code", ""))

    @property
    def errors(self) -> Sequence[Mapping[str, str]]:
        """The fields to blame: `pointer` or `parameter`, and `detail`, of each."""
        found: Sequence[Mapping[str, str]] = self.problem.get("errors", ())
        return found


class Invalid(ServiceError):
    """The request, most often the spec, is not possible: change it as `detail` and `errors` say."""


class Unauthorized(ServiceError):
    """The key is missing or wrong."""


class NotFound(ServiceError):
    """There is no such experiment, sweep, artifact or place."""


class Conflict(ServiceError):
    """The experiment's state does not allow it, or not yet."""


class Unreachable(ServiceError):
    """The service does not answer."""


class ServerFault(ServiceError):
    """The service failed at it; its log says why."""


class StillRunning(ServiceError):
    """The experiment had not ended when the patience of the one who waited for it had."""


def error_for(status: int, problem: Mapping[str, Any]) -> ServiceError:
    """The exception for an answer that is no success."""
    kinds = {401: Unauthorized, 403: Unauthorized, 404: NotFound, 409: Conflict}
    kind = kinds.get(status) or (ServerFault if status >= 500 else Invalid)
    detail = str(problem.get("detail") or f"The service answered {status} without saying why.")
    return kind(detail, status=status, problem=problem)
