"""One request, tried again while that may help: every call of this client is safe to repeat."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from bilevel_client.errors import ServiceError, Unreachable, error_for

PASSING = frozenset({429, 502, 503, 504})
"""Statuses that may be gone a moment later."""
LONGEST_PAUSE = 5.0


class Transport:
    """Sends requests to a service.

    Args:
        base_url: address of the service.
        api_key: its key, if it has one.
        patience: seconds during which a request that got no answer is sent again.
        timeout: seconds without a byte after which a connection counts as lost.
    """

    def __init__(self, base_url: str, api_key: str | None, *, patience: float, timeout: float) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=base_url, headers=headers, timeout=timeout)
        self.patience = patience
        self.timeout = timeout

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def send(self, method: str, path: str, *, wait: float = 0.0, **options: Any) -> httpx.Response:
        """The answer to a request, if it is a success.

        Args:
            method: GET or POST.
            path: place below the base URL.
            wait: seconds that the service may take to answer, beyond the timeout.
            **options: passed to httpx.

        Raises:
            ServiceError: of the kind that the answer says.
        """
        for pause in self._pauses():
            try:
                answer = self._http.request(method, path, timeout=self.timeout + wait, **options)
            except httpx.TransportError as error:
                if pause is None:
                    raise self._unreachable(error) from error
            else:
                if answer.is_success:
                    return answer
                refusal = refused(answer)
                if pause is None or not may_pass(refusal):
                    raise refusal
            time.sleep(pause)
        raise AssertionError("the pauses end with None")

    def json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """The JSON object that answers a request; the arguments are those of `send`.

        Raises:
            ServiceError: of the kind that the answer says, also where it is no JSON.
        """
        answer = self.send(method, path, **options)
        try:
            content = answer.json()
        except ValueError as error:
            raise ServiceError(f"{path} did not answer with JSON: is this the address of a Bilevel service?") from error
        assert isinstance(content, dict)
        return content

    @contextmanager
    def stream(
        self, path: str, headers: Mapping[str, str], params: Mapping[str, Any] | None = None
    ) -> Iterator[httpx.Response]:
        """The answer to a GET request, to be read as it arrives; not tried again."""
        try:
            with self._http.stream("GET", path, headers=dict(headers), params=params) as answer:
                if not answer.is_success:
                    answer.read()
                    raise refused(answer)
                yield answer
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _pauses(self) -> Iterator[float | None]:
        """Seconds to sleep after each failed try; None: it was the last."""
        deadline = time.monotonic() + self.patience
        pause = 0.1
        while time.monotonic() + pause < deadline:
            yield pause
            pause = min(2 * pause, LONGEST_PAUSE)
        yield None

    def _unreachable(self, error: httpx.TransportError) -> ServiceError:
        reason = str(error).rstrip(".") or type(error).__name__
        return Unreachable(f"No answer from {self._http.base_url}: {reason}. Is the service running (`bilevel up`)?")


def may_pass(error: ServiceError) -> bool:
    """Whether the same request may succeed a moment later."""
    return isinstance(error, Unreachable) or error.status in PASSING


def refused(answer: httpx.Response) -> ServiceError:
    """The exception for an answer that is no success; the body has been read."""
    if answer.next_request is not None:  # followed, a submission could become a look at the list
        elsewhere = str(answer.next_request.url).partition("/v1/")[0]
        return ServiceError(f"The service is at {elsewhere}: give that address.", status=answer.status_code)
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"detail": f"The service answered {answer.status_code} {answer.reason_phrase}: {answer.text[:200]}"}
    return error_for(answer.status_code, problem)
