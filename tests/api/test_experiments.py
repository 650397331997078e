"""Looking at experiments, waiting for them, cancelling them in every state."""

import contextlib
import threading
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from core.store import finishing


def test_the_etag_is_the_version_and_spares_the_body(client: httpx.Client, submitted: str, slot: Any) -> None:
    place = f"/v1/experiments/{submitted}"
    first = client.get(place)
    assert first.headers["ETag"] == '"1"'

    again = client.get(place, headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["ETag"] == '"1"'

    slot.start(submitted)
    changed = client.get(place, headers={"If-None-Match": first.headers["ETag"]})
    assert changed.status_code == 200
    assert changed.json()["version"] == 2


@pytest.mark.parametrize("header", ['W/"1"', '"7", "1"', "*"])
def test_if_none_match_in_its_other_forms(client: httpx.Client, submitted: str, header: str) -> None:
    assert client.get(f"/v1/experiments/{submitted}", headers={"If-None-Match": header}).status_code == 304


@pytest.mark.parametrize("known", [{"params": {"version": 1}}, {"headers": {"If-None-Match": '"1"'}}])
def test_a_long_poll_ends_when_the_experiment_changes(
    client: httpx.Client, submitted: str, slot: Any, known: dict[str, Any]
) -> None:
    timer = threading.Timer(0.5, slot.start, [submitted])
    timer.start()
    begin = time.monotonic()
    answer = client.get(
        f"/v1/experiments/{submitted}", params={"wait": 15, **known.get("params", {})}, headers=known.get("headers")
    )
    took = time.monotonic() - begin
    timer.join()

    assert answer.json()["status"] == "running"
    assert 0.4 < took < 5


def test_a_long_poll_ends_unchanged_after_its_time(client: httpx.Client, submitted: str) -> None:
    place = f"/v1/experiments/{submitted}"
    begin = time.monotonic()
    answer = client.get(place, params={"wait": 0.3, "version": 1})
    assert time.monotonic() - begin >= 0.3
    assert answer.status_code == 200
    assert answer.json()["version"] == 1
    assert client.get(place, params={"wait": 0.1}, headers={"If-None-Match": '"1"'}).status_code == 304


def test_a_long_poll_for_an_old_version_answers_at_once(client: httpx.Client, submitted: str, slot: Any) -> None:
    slot.start(submitted)
    begin = time.monotonic()
    client.get(f"/v1/experiments/{submitted}", params={"wait": 10, "version": 1})
    assert time.monotonic() - begin < 2


def test_progress_and_time_to_go_while_it_runs(client: httpx.Client, submitted: str, slot: Any) -> None:
    attempt = slot.start(submitted)
    slot.write(submitted, attempt, {"seconds": dict.fromkeys(range(21), 0.5)})
    record = client.get(f"/v1/experiments/{submitted}").json()

    assert record["progress"] == {"hyperiteration": 20, "hyperiterations": 100, "fraction": 0.2, "eta_seconds": 40.0}
    assert record["attempt"] == 1
    assert record["started_at"] is not None


def test_a_failed_experiment_says_why(client: httpx.Client, submitted: str, slot: Any) -> None:
    attempt = slot.start(submitted)
    slot.fail(submitted, attempt, finishing.Failure("user", "diverged", "Lower the rate.", {"hyperiteration": 7}))
    record = client.get(f"/v1/experiments/{submitted}").json()

    assert record["status"] == "failed"
    assert record["finished_at"] is not None
    assert record["error"] == {
        "category": "user",
        "code": "diverged",
        "message": "Lower the rate.",
        "attempt": 1,
        "hyperiteration": 7,
    }


def test_a_lost_experiment_says_why_and_when_it_is_tried_again(client: httpx.Client, submitted: str, slot: Any) -> None:
    place = f"/v1/experiments/{submitted}"
    assert client.get(place).json()["lost_attempt"] is None
    failure = finishing.Failure("infrastructure", "child_died", "Ended by signal 9.")
    slot.lose(submitted, slot.start(submitted), failure, backoff=60)
    record = client.get(place).json()
    assert (record["status"], record["waiting_for"], record["error"]) == ("queued", "a free slot", None)
    assert record["lost_attempt"]["error"] == failure.to_json(1)
    wait = datetime.fromisoformat(record["lost_attempt"]["retried_at"]) - datetime.now(UTC)
    assert 30 < wait.total_seconds() <= 61
    assert client.get("/v1/experiments").json()["items"] == [record]
    assert client.post(f"{place}:cancel").json()["lost_attempt"] is None


def test_an_experiment_that_was_given_back_has_no_loss(client: httpx.Client, submitted: str, slot: Any) -> None:
    died = finishing.Failure("infrastructure", "child_died", "Ended by signal 9.")
    slot.lose(submitted, slot.start(submitted), died, backoff=0)
    attempt = slot.start(submitted)
    assert client.get(f"/v1/experiments/{submitted}").json()["lost_attempt"] is None
    slot.release(submitted, attempt)
    assert client.get(f"/v1/experiments/{submitted}").json()["lost_attempt"] is None


class TestCancel:
    def test_queued_is_cancelled_at_once(self, client: httpx.Client, submitted: str) -> None:
        answer = client.post(f"/v1/experiments/{submitted}:cancel")
        assert answer.status_code == 200
        assert answer.json()["status"] == "cancelled"
        assert answer.json()["finished_at"] is not None
        assert answer.headers["ETag"] == '"2"'

    def test_running_is_asked_to_stop(self, client: httpx.Client, submitted: str, slot: Any) -> None:
        attempt = slot.start(submitted)
        answer = client.post(f"/v1/experiments/{submitted}:cancel")
        assert answer.status_code == 202
        assert answer.json()["status"] == "cancelling"

        again = client.post(f"/v1/experiments/{submitted}:cancel")
        assert again.status_code == 202
        assert again.json() == answer.json()

        slot.cancel(submitted, attempt)
        assert client.get(f"/v1/experiments/{submitted}").json()["status"] == "cancelled"

    def test_cancelled_stays_so(self, client: httpx.Client, submitted: str) -> None:
        first = client.post(f"/v1/experiments/{submitted}:cancel")
        again = client.post(f"/v1/experiments/{submitted}:cancel")
        assert again.status_code == 200
        assert again.json() == first.json()

    @pytest.mark.parametrize("status", ["succeeded", "failed"])
    def test_what_has_ended_cannot_be_cancelled(
        self, client: httpx.Client, submitted: str, slot: Any, status: str
    ) -> None:
        attempt = slot.start(submitted)
        if status == "succeeded":
            slot.succeed(submitted, attempt, {"best": {}})
        else:
            slot.fail(submitted, attempt, finishing.Failure("user", "exception", "no"))
        answer = client.post(f"/v1/experiments/{submitted}:cancel")
        assert answer.status_code == 409
        assert answer.json()["code"] == "conflict"
        assert status in answer.json()["detail"]

    def test_a_released_experiment_is_queued_again_and_can_be_cancelled(
        self, client: httpx.Client, submitted: str, slot: Any
    ) -> None:
        slot.release(submitted, slot.start(submitted))
        assert client.post(f"/v1/experiments/{submitted}:cancel").json()["status"] == "cancelled"

    def test_cancels_and_claims_at_the_same_time_leave_a_state_that_makes_sense(
        self, client: httpx.Client, submitted: str, slot: Any
    ) -> None:
        barrier = threading.Barrier(2)
        claimed: list[int] = []

        def claim() -> None:
            barrier.wait()
            with contextlib.suppress(AssertionError):  # it was cancelled before
                claimed.append(slot.start(submitted))

        thread = threading.Thread(target=claim)
        thread.start()
        barrier.wait()
        status = client.post(f"/v1/experiments/{submitted}:cancel").json()["status"]
        thread.join()
        assert status == ("cancelling" if claimed else "cancelled")


class TestList:
    def submit(self, client: httpx.Client, **fields: Any) -> str:
        return str(client.post("/v1/experiments", json={"problem": {"kind": "quadratic"}, **fields}).json()["id"])

    def ids(self, client: httpx.Client, **params: Any) -> list[str]:
        answer = client.get("/v1/experiments", params=params)
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]]

    def test_newest_first(self, client: httpx.Client) -> None:
        made = [self.submit(client) for _ in range(3)]
        assert self.ids(client) == made[::-1]
        page = client.get("/v1/experiments").json()
        assert page["next"] is None
        assert page["items"][0] == client.get(f"/v1/experiments/{made[-1]}").json()

    def test_pages_are_stable_while_experiments_come(self, client: httpx.Client) -> None:
        made = [self.submit(client) for _ in range(7)]
        seen: list[str] = []
        cursor: str | None = None
        for _ in range(10):
            page = client.get(
                "/v1/experiments", params={"page_size": 3} | ({"cursor": cursor} if cursor else {})
            ).json()
            seen += [item["id"] for item in page["items"]]
            cursor = page["next"]
            if cursor is None:
                break
            self.submit(client)
        assert seen == made[::-1]

    def test_a_full_last_page_has_no_next(self, client: httpx.Client) -> None:
        for _ in range(2):
            self.submit(client)
        assert client.get("/v1/experiments", params={"page_size": 2}).json()["next"] is None

    def test_names_of_labels_may_have_colons(self, client: httpx.Client) -> None:
        first = self.submit(client, labels={"paper": "table:3"})
        second = self.submit(client, labels={"paper:table": "3", "x": "y"})
        self.submit(client, labels={"paper:table": "4"})
        assert self.ids(client, label="paper:table:3") == [second, first]
        assert self.ids(client, label=["paper:table:3", "x:y"]) == [second]

    def test_filters(self, client: httpx.Client, slot: Any) -> None:
        plain = self.submit(client, name="plain")
        slot.start(plain)
        labelled = self.submit(client, name="100% of Table_3", labels={"paper": "table:3", "who": "me"})
        other = self.submit(client, problem={"kind": "regularization"}, labels={"paper": "table:3"})

        assert self.ids(client, status="running") == [plain]
        assert self.ids(client, status=["running", "queued"]) == [other, labelled, plain]
        assert self.ids(client, status="succeeded") == []
        assert self.ids(client, kind="regularization") == [other]
        assert self.ids(client, label="paper:table:3") == [other, labelled]
        assert self.ids(client, label=["paper:table:3", "who:me"]) == [labelled]
        assert self.ids(client, label=["who:me", "who:you"]) == []
        assert self.ids(client, name="table_3") == [labelled]
        assert self.ids(client, name="100%") == [labelled]
        assert self.ids(client, name="e_o") == []
        assert self.ids(client, label="paper:table:3", kind="quadratic") == [labelled]

        middle = client.get(f"/v1/experiments/{labelled}").json()["created_at"]
        assert self.ids(client, created_after=middle) == [other]
        assert self.ids(client, created_before=middle) == [plain]

    def test_by_the_beginning_of_the_id(self, client: httpx.Client) -> None:
        made = [self.submit(client) for _ in range(3)]
        for experiment_id in made:
            for prefix in (experiment_id, experiment_id[:13], UUID(experiment_id).hex[:10].upper()):
                assert self.ids(client, id_prefix=prefix) == [experiment_id]
            assert experiment_id in self.ids(client, id_prefix=experiment_id[0])
