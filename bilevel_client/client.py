"""The service from Python: submit, look, wait, take the result."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx_sse

from bilevel_client.errors import ServiceError, StillRunning
from bilevel_client.pages import find, labelled, pages
from bilevel_client.records import TERMINAL, Curves, Event, Record, Series
from bilevel_client.transport import Transport, may_pass

__all__ = ["TERMINAL", "Client", "Curves", "Event", "Record", "Series"]

LONGEST_POLL = 30.0
"""Seconds that the service is asked to wait for a change at a time."""
SWEEP_PAUSE = 1.0
"""Seconds between two looks at a sweep."""


class Client:
    """A service at an address.

    Every call is repeated for `patience` seconds while the service does not answer, submissions too: they carry
    a key by which the service knows them again. Exceptions are those of `bilevel_client.errors`.

    Args:
        base_url: address of the service, such as http://127.0.0.1:8000.
        api_key: its key, if it has one.
        patience: seconds during which a call that got no answer is repeated.
        timeout: seconds without a byte after which a connection counts as lost.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        api_key: str | None = None,
        *,
        patience: float = 10.0,
        timeout: float = 30.0,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ServiceError(f"The address {base_url} does not say how to speak: begin it with http:// or https://")
        self._transport = Transport(base_url.rstrip("/"), api_key, patience=patience, timeout=timeout)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    @property
    def patience(self) -> float:
        """Seconds during which a call that got no answer is repeated."""
        return self._transport.patience

    @patience.setter
    def patience(self, seconds: float) -> None:
        self._transport.patience = seconds

    def submit(self, spec: Mapping[str, Any], *, idempotency_key: str | None = None) -> Record:
        """Submits an experiment and returns its record, `queued`.

        Args:
            spec: what to run, as in the examples.
            idempotency_key: a second submission with the same key and spec gives the first experiment.
        """
        return self._transport.json("POST", "/v1/experiments", json=dict(spec), headers=_key(idempotency_key))

    def plan(self, spec: Mapping[str, Any], **device: str | float) -> dict[str, Any]:
        """What an experiment would cost: memory and time by part, what would not fit and what would; nothing is stored.

        Args:
            spec: what would be run, as for `submit`.
            device: whose rates are taken, `device="cpu"` or `"cuda"`, and rates that were measured, by their names in
                the answer's `device`.
        """
        return self._transport.json("POST", "/v1/experiments:plan", json=dict(spec), params=device)

    def get(self, experiment_id: str, *, wait: float = 0.0, version: int | None = None) -> Record:
        """An experiment's record.

        Args:
            experiment_id: which experiment.
            wait: answer when its version is no longer `version`, or after so many seconds (at most 60).
            version: the version that is known already; without it the answer comes at once.
        """
        params = {"wait": wait, "version": version} if wait and version is not None else {}
        return self._transport.json("GET", _place(experiment_id), params=params, wait=wait)

    def list(
        self,
        *,
        status: str | Sequence[str] = (),
        kind: str | Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
        name: str | None = None,
        id_prefix: str | None = None,
        created_after: str | None = None,
        created_before: str | None = None,
        sweep: str | None = None,
        in_sweep: bool | None = None,
        limit: int | None = None,
    ) -> Iterator[Record]:
        """Experiments that pass all filters, newest first, read page by page.

        Args:
            status: one of these states.
            kind: one of these kinds of problem.
            labels: all of these labels.
            name: text that the name contains.
            id_prefix: beginning of the id.
            created_after: ISO 8601 time with time zone.
            created_before: ISO 8601 time with time zone.
            sweep: id of the sweep that they are members of; all trials of those that were retried.
            in_sweep: whether they are members of some sweep.
            limit: stop after so many.
        """
        given = {"status": status, "kind": kind, "label": labelled(labels), "name": name, "id_prefix": id_prefix}
        given |= {"created_after": created_after, "created_before": created_before}
        given |= {"sweep": sweep, "in_sweep": None if in_sweep is None else str(in_sweep).lower()}
        return pages(self._transport, "/v1/experiments", given, limit)

    def find(self, beginning: str) -> str:
        """The id of the experiment that begins so.

        Raises:
            NotFound: there is none.
            Invalid: there are several.
        """
        return find(self._transport, "experiment", "/v1/experiments", beginning)

    def wait(self, experiment_id: str, *, timeout: float | None = None) -> Record:
        """Waits until the experiment has ended, and returns its record, whatever the end.

        Raises:
            StillRunning: it had not after `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        record = self.get(experiment_id)
        while record["status"] not in TERMINAL:
            left = LONGEST_POLL if deadline is None else min(deadline - time.monotonic(), LONGEST_POLL)
            if left <= 0:
                raise StillRunning(f"The experiment is {record['status']} after {timeout:g} s.")
            record = self.get(experiment_id, wait=left, version=record["version"])
        return record

    def curves(
        self, experiment_id: str, series: str | Sequence[str] = (), *, after: int = -1, max_points: int = 500
    ) -> Curves:
        """Curves with at most `max_points` points a series, spikes kept.

        Args:
            experiment_id: which experiment.
            series: names, with `*` for any text; by default all.
            after: only points after this hyperiteration.
            max_points: between 4 and 10 000.
        """
        params: dict[str, Any] = {"series": series, "after": after, "max_points": max_points}
        answer = self._transport.json("GET", f"{_place(experiment_id)}/curves", params=params)
        found = {
            name: Series(column["step"], [float(value) for value in column["value"]], column.get("attempt"))
            for name, column in answer["series"].items()
        }
        return Curves(found, answer["next"])

    def curves_csv(self, experiment_id: str, series: str | Sequence[str] = ()) -> Iterator[str]:
        """Every point of the curves as lines of CSV, the first `series,step,value,attempt`, read as they arrive.

        Args:
            experiment_id: which experiment.
            series: names, with `*` for any text; by default all.
        """
        headers = {"Accept": "text/csv"}
        with self._transport.stream(f"{_place(experiment_id)}/curves", headers, params={"series": series}) as answer:
            yield from answer.iter_lines()

    def result(self, experiment_id: str) -> dict[str, Any]:
        """The result of an experiment that has succeeded.

        Raises:
            Conflict: it has not, or not yet.
        """
        return self._transport.json("GET", f"{_place(experiment_id)}/result")

    def cancel(self, experiment_id: str) -> Record:
        """Cancels an experiment, and returns its record: `cancelled`, or `cancelling` while it is being stopped.

        Raises:
            Conflict: it has succeeded or failed.
        """
        return self._transport.json("POST", f"{_place(experiment_id)}:cancel")

    def events(self, experiment_id: str, *, after: int = 0) -> Iterator[Event]:
        """What happened, and what happens until the experiment ends; goes on after lost connections.

        Args:
            experiment_id: which experiment.
            after: only events after this version.
        """
        last, lost_at = after, math.inf
        while True:
            headers = {"Last-Event-ID": str(last), "Accept": "text/event-stream", "Cache-Control": "no-store"}
            try:
                with self._transport.stream(f"{_place(experiment_id)}/events", headers) as answer:
                    lost_at = math.inf
                    if answer.status_code == 204:
                        return
                    for event in httpx_sse.EventSource(answer).iter_sse():
                        if not event.data:  # the service says now and then that it is there
                            continue
                        last = int(event.id)
                        yield Event(event.event, last, event.json())
                        if event.event in TERMINAL:
                            return
                if self.get(experiment_id)["status"] in TERMINAL:
                    return
            except ServiceError as error:
                lost_at = min(lost_at, time.monotonic())
                if not may_pass(error) or time.monotonic() - lost_at > self.patience:
                    raise
            time.sleep(0.5)

    def artifacts(self, experiment_id: str) -> Sequence[dict[str, Any]]:
        """The files that the experiment made: name, media type, size, sha256 of each."""
        found: Sequence[dict[str, Any]] = self._transport.json("GET", f"{_place(experiment_id)}/artifacts")["artifacts"]
        return found

    def artifact(self, experiment_id: str, name: str, *, to: Path | None = None) -> bytes:
        """The content of a file that the experiment made; also written to `to`, if given."""
        place = f"{_place(experiment_id)}/artifacts/{quote(name, safe='')}"
        content = self._transport.send("GET", place).content
        if to is not None:
            to.write_bytes(content)
        return content

    def sweep(self, spec: Mapping[str, Any], *, idempotency_key: str | None = None) -> Record:
        """Submits a sweep, every member an experiment of its own, and returns its record.

        Args:
            spec: `base` (what `submit` takes), `grid` (field -> values) and `seeds`, as in the examples.
            idempotency_key: a second submission with the same key and spec gives the first sweep.
        """
        return self._transport.json("POST", "/v1/sweeps", json=dict(spec), headers=_key(idempotency_key))

    def plan_sweep(self, spec: Mapping[str, Any], **device: str | float) -> dict[str, Any]:
        """What every combination of a sweep would cost, and all its members together; nothing is stored.

        Args:
            spec: what would be run, as for `sweep`.
            device: whose rates are taken, as for `plan`.
        """
        return self._transport.json("POST", "/v1/sweeps:plan", json=dict(spec), params=device)

    def sweeps(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        name: str | None = None,
        id_prefix: str | None = None,
        created_after: str | None = None,
        created_before: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Record]:
        """Sweeps that pass all filters, newest first, read page by page; the filters are those of `list`."""
        given = {"label": labelled(labels), "name": name, "id_prefix": id_prefix}
        given |= {"created_after": created_after, "created_before": created_before}
        return pages(self._transport, "/v1/sweeps", given, limit)

    def get_sweep(self, sweep_id: str, values: Sequence[str] = ()) -> Record:
        """A sweep's record: members by state, progress, the best member, the best cell, means over seeds.

        Args:
            sweep_id: which sweep.
            values: dotted paths of further numbers in the members' results, such as `report.f1`: at most 20. They come
                in `values` of every cell.

        Raises:
            Invalid: no result has a number at one of the paths.
        """
        return self._transport.json("GET", _sweep_place(sweep_id), params={"value": values})

    def sweep_members(self, sweep_id: str, values: Sequence[str] = ()) -> Sequence[Record]:
        """Every member of a sweep, its newest trial: parameters, state, score; `values` as for `get_sweep`."""
        place = f"{_sweep_place(sweep_id)}/members"
        found: Sequence[Record] = self._transport.json("GET", place, params={"value": values})["members"]
        return found

    def cancel_sweep(self, sweep_id: str) -> Record:
        """Cancels every member that has not ended, and returns the sweep's record."""
        return self._transport.json("POST", f"{_sweep_place(sweep_id)}:cancel")

    def retry_sweep(self, sweep_id: str) -> Record:
        """Submits every member again that has failed or was cancelled: how many (`retried`), and the `sweep`."""
        return self._transport.json("POST", f"{_sweep_place(sweep_id)}:retry")

    def wait_sweep(self, sweep_id: str, *, timeout: float | None = None) -> Record:
        """Waits until every member has ended, and returns the sweep's record, whatever the end.

        Raises:
            StillRunning: some had not after `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not (record := self.get_sweep(sweep_id))["ended"]:
            left = SWEEP_PAUSE if deadline is None else min(deadline - time.monotonic(), SWEEP_PAUSE)
            if left <= 0:
                raise StillRunning(f"The sweep has members that have not ended after {timeout:g} s.")
            time.sleep(left)
        return record

    def find_sweep(self, beginning: str) -> str:
        """The id of the sweep that begins so; raises as `find`."""
        return find(self._transport, "sweep", "/v1/sweeps", beginning)

    def catalog(self) -> dict[str, Any]:
        """Every kind that a spec can name and what an experiment has besides, with JSON Schemas and examples."""
        return self._transport.json("GET", "/v1/catalog")


def _place(experiment_id: str) -> str:
    return f"/v1/experiments/{quote(experiment_id, safe='')}"


def _sweep_place(sweep_id: str) -> str:
    return f"/v1/sweeps/{quote(sweep_id, safe='')}"


def _key(given: str | None) -> dict[str, str]:
    return {"Idempotency-Key": given or str(uuid4())}
