"""Sweeps over HTTP: submitted whole or not at all, told by their members, cancelled, retried."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from sqlalchemy import Engine, text

from core.settings import Settings
from core.spec import Sweep
from core.store import finishing

Serve = Callable[[Settings], AbstractContextManager[str]]
QUADRATIC: dict[str, Any] = {"labels": {"paper": "base"}, "problem": {"kind": "quadratic"}}
SWEEP: dict[str, Any] = {
    "name": "toy",
    "labels": {"kind": "sweep"},
    "base": QUADRATIC,
    "grid": {"steps": [4, 2], "hypergradient": [{"kind": "reverse"}]},
    "seeds": [0, 1],
}
FAILURE = finishing.Failure("user", "diverged", "Lower the rate.", {"hyperiteration": 7})


def result(validation: float | str, test: float, *, metric: str = "loss", better: str = "lower") -> dict[str, Any]:
    """The parts of a result that a sweep looks at."""
    return {
        "best": {"hyperiteration": 3, "validation": {metric: {"mean": validation, "ci95": 0.1, "examples": 9}}},
        "test": {metric: {"mean": test, "ci95": 0.1, "examples": 9}},
        "selection": {"metric": metric, "better": better},
    }


def submit(client: httpx.Client, spec: dict[str, Any] = SWEEP, **headers: str) -> dict[str, Any]:
    answer = client.post("/v1/sweeps", json=spec, headers=headers)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def members(client: httpx.Client, record: dict[str, Any]) -> list[dict[str, Any]]:
    return list(client.get(record["links"]["members"]).json()["members"])


def count(engine: Engine, table: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


class TestSubmit:
    def test_the_answer_is_the_sweep_and_where_it_is(self, client: httpx.Client) -> None:
        answer = client.post("/v1/sweeps", json=SWEEP)

        assert answer.status_code == 202
        record = answer.json()
        place = f"/v1/sweeps/{record['id']}"
        assert answer.headers["Location"] == place
        assert answer.headers["Retry-After"] == "1"
        assert answer.headers["ETag"] == '"4"'
        assert record["links"] == {
            "self": place,
            "members": f"{place}/members",
            "experiments": f"/v1/experiments?sweep={record['id']}",
            "cancel": f"{place}:cancel",
            "retry": f"{place}:retry",
        }
        states = ("queued", "running", "cancelling", "succeeded", "failed", "cancelled")
        assert record["counts"] == dict.fromkeys(states, 0) | {"queued": 4}
        assert record["progress"] == {"hyperiteration": 0, "hyperiterations": 400, "fraction": 0.0}
        spec = Sweep.model_validate(SWEEP)
        assert record["spec"] == spec.canonical()
        assert list(record["spec"]["grid"]) == ["algorithm.steps", "algorithm.hypergradient"], "in the order given"
        assert record["spec_sha256"] == spec.sha256()
        assert (record["members"], record["ended"], record["best"], record["version"]) == (4, False, None, 4)
        assert record["labels"] == {"kind": "sweep"}
        assert client.get(place).json() == record

    def test_members_are_experiments(self, client: httpx.Client) -> None:
        record = submit(client)
        found = members(client, record)
        assert [each["parameters"] for each in found] == [
            {"algorithm.steps": steps, "algorithm.hypergradient": {"kind": "reverse"}, "seed": seed}
            for steps in (4, 2)
            for seed in (0, 1)
        ]
        assert {(each["trial"], each["status"], each["score"], each["error"]) for each in found} == {
            (1, "queued", None, None)
        }
        experiment = client.get(found[1]["links"]["experiment"]).json()
        assert experiment["name"] == "toy [steps=4, hypergradient=reverse, seed=1]"
        assert experiment["labels"] == {"paper": "base", "kind": "sweep"}
        assert (experiment["spec"]["seed"], experiment["spec"]["algorithm"]["steps"]) == (1, 4)
        parameters = found[1]["parameters"]
        assert experiment["sweep"] == {"id": record["id"], "member": 1, "trial": 1, "parameters": parameters}
        assert list(experiment["sweep"]["parameters"]) == list(parameters)
        alone = client.post("/v1/experiments", json=QUADRATIC).json()
        assert alone["sweep"] is None

    def test_one_hint_is_sent(self, client: httpx.Client, redis_socket: Path) -> None:
        submit(client)
        with redis.Redis(unix_socket_path=str(redis_socket)) as broker:
            deadline = time.monotonic() + 5
            while not broker.llen("bilevel") and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.2)
            assert broker.llen("bilevel") == 1

    def test_the_largest_is_taken(self, client: httpx.Client, engine: Engine) -> None:
        record = submit(client, SWEEP | {"grid": {"steps": list(range(1, 101))}, "seeds": list(range(10))})
        assert count(engine, "experiments") == record["members"] == len(members(client, record)) == 1000

    def test_the_same_key_and_body_is_the_same_sweep(self, client: httpx.Client, engine: Engine) -> None:
        key = {"Idempotency-Key": "once"}
        first = client.post("/v1/sweeps", json=SWEEP, headers=key)
        again = client.post("/v1/sweeps", json=dict(reversed(SWEEP.items())), headers=key)
        assert again.status_code == 202
        assert again.json() == first.json()
        assert "Idempotency-Replayed" not in first.headers
        assert again.headers["Idempotency-Replayed"] == "true"
        other = client.post("/v1/sweeps", json=SWEEP | {"seeds": [0]}, headers=key)
        assert other.status_code == 422
        assert other.json()["code"] == "idempotency_conflict"
        assert (count(engine, "sweeps"), count(engine, "experiments")) == (1, 4)
        assert client.post("/v1/experiments", json=QUADRATIC, headers=key).status_code == 202

    def test_submissions_at_the_same_time_with_one_key_are_one_sweep(
        self, client: httpx.Client, engine: Engine
    ) -> None:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: submit(client, **{"Idempotency-Key": "k"}), range(8)))
        assert len({record["id"] for record in found}) == 1
        assert (count(engine, "sweeps"), count(engine, "experiments")) == (1, 4)


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"base": {"problem": {"kind": "quadratc"}}}, "/base/problem/kind", "did you mean `quadratic`?"),
    ({"base": {"problem": {"kind": "quadratic", "damp": 1}}}, "/base/problem/damp", "did you mean `damping`?"),
    ({"base": {"problem": {}}}, "/base/problem/kind", "`kind` is missing: use `quadratic`"),
    (
        {"base": {"problem": {"kind": "hyper_cleaning"}, "algorithm": {"hypergradient": {"kind": "exact"}}}},
        "/base/algorithm/hypergradient",
        "closed form",
    ),
    ({"base": QUADRATIC | {"sed": 1}}, "/base/sed", "did you mean `seed`?"),
    ({"base": 3}, "/base", "not `3`"),
    ({"sedes": [1]}, "/sedes", "did you mean `seeds`?"),
    ({"seed": [1]}, "/seed", "did you mean `seeds`?): use `base`, `grid`, `labels`, `name` or `seeds`"),
    ({"seeds": [0, -1]}, "/seeds/1", "greater than or equal to 0"),
    ({"seeds": [0, 0]}, "/seeds/1", "leave it out"),
    ({"grid": {"steps": []}}, "/grid/steps", "at least 1 item"),
    ({"grid": {"steps": [1, 0]}}, "/grid/steps/1", "/algorithm/steps: Input should be greater than or equal to 1"),
    (
        {"grid": {"hypergradient": [{"kind": "exact"}, {"kind": "revers"}]}},
        "/grid/hypergradient/1",
        "/algorithm/hypergradient/kind: `revers` is not possible here (did you mean `reverse`?)",
    ),
    (
        {"grid": {"steps": [2, 8], "hypergradient": [{"kind": "reverse", "segment": 4}]}},
        "/grid",
        "steps=2, hypergradient=reverse(segment=4) is not possible: /algorithm/hypergradient/segment: a segment of 4",
    ),
    ({"grid": {"stps": [1]}}, "/grid/stps", "use `algorithm.steps`"),
    ({"grid": {"steps": list(range(1, 600))}}, "/grid", "599 x 2 (the last: seeds) are 1198 experiments"),
]


@pytest.mark.parametrize(("fields", "pointer", "message"), REFUSED, ids=[pointer for _, pointer, _ in REFUSED])
def test_a_sweep_is_refused_with_its_place(
    refusing: httpx.Client, fields: dict[str, Any], pointer: str, message: str
) -> None:
    answer = refusing.post("/v1/sweeps", json=SWEEP | fields)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["code"] == "invalid"
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert message in problem["errors"][0]["detail"]
    assert refusing.post("/v1/sweeps:plan", json=SWEEP | fields).json() == problem
    assert refusing.get("/v1/sweeps").json()["items"] == []
    assert refusing.get("/v1/experiments").json()["items"] == []


@pytest.mark.parametrize(
    "body",
    [
        '{"base": {"problem": {"kind": "quadratic"}}, "grid": {"damping": [NaN]}}',
        '{"base": {"problem": {"kind": "quadratic"}}, "grid": {"damping": ["\\ud800"]}}',
        '{"base": {"problem": {"kind": "quadratic"}}, "grid": {"damping": ["\\u0000"]}}',
        '{"base": {"problem": {"kind": "quadratic"}}, "grid": {"\\ud800": [1]}}',
        '{"base": {"problem": {"kind": "quadratic"}}, "grid": {"damping": [' + "[" * 400 + "]" * 400 + "]}}",
        '{"base": {"problem": {"kind": "quadratic"}}, "grid": {"damping": [' + "9" * 400 + "]}}",
    ],
)
def test_values_that_nothing_can_hold_are_refused(refusing: httpx.Client, body: str) -> None:
    answer = refusing.post("/v1/sweeps", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"].startswith("/grid/")


def test_missing_data_are_refused_before_anything_is_stored(client: httpx.Client, engine: Engine) -> None:
    cleaning = {"problem": {"kind": "hyper_cleaning", "dataset": {"kind": "mnist"}}}
    chosen = {"problem.dataset": [{"kind": "digits"}, {"kind": "mnist"}]}
    of_base = client.post("/v1/sweeps", json={"base": cleaning, "grid": {"steps": [1, 2]}})
    of_grid = client.post("/v1/sweeps", json={"base": {"problem": {"kind": "hyper_cleaning"}}, "grid": chosen})
    unused = client.post("/v1/sweeps", json={"base": cleaning, "grid": {"problem.dataset": [{"kind": "digits"}]}})
    for answer, pointer in ((of_base, "/base/problem/dataset"), (of_grid, "/grid")):
        assert answer.status_code == 422
        assert answer.json()["code"] == "data_missing"
        assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]
        assert "bilevel data prepare mnist" in answer.json()["detail"]
    assert "dataset=mnist" in of_grid.json()["detail"]
    assert unused.status_code == 202
    assert count(engine, "sweeps") == 1


class TestLook:
    def test_the_etag_is_the_version_and_spares_the_body(self, client: httpx.Client, slot: Any) -> None:
        record = submit(client)
        place = record["links"]["self"]
        again = client.get(place, headers={"If-None-Match": '"4"'})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", '"4"')
        slot.start(members(client, record)[0]["experiment_id"])
        changed = client.get(place, headers={"If-None-Match": '"4"'})
        assert changed.status_code == 200
        assert changed.json()["version"] == 5
        assert changed.headers["ETag"] == '"5"'

    def test_progress_best_and_cells(self, client: httpx.Client, slot: Any) -> None:
        record = submit(client)
        ids = [each["experiment_id"] for each in members(client, record)]
        for experiment_id, found in zip(ids, (result("NaN", 9), result(0.5, 3.0), result(0.25, 1.0)), strict=False):
            slot.succeed(experiment_id, slot.start(experiment_id), found)
        attempt = slot.start(ids[3])
        slot.write(ids[3], attempt, {"x": dict.fromkeys(range(51), 1.0)})
        now = client.get(record["links"]["self"]).json()
        assert now["progress"] == {"hyperiteration": 350, "hyperiterations": 400, "fraction": 0.875}
        assert (now["counts"]["succeeded"], now["counts"]["running"]) == (3, 1)
        parameters = {"algorithm.steps": 2, "algorithm.hypergradient": {"kind": "reverse"}}
        assert now["best"] == {
            "metric": "loss",
            "better": "lower",
            "hyperiteration": 3,
            "validation": 0.25,
            "test": {"loss": 1.0},
            "member": 2,
            "trial": 1,
            "parameters": parameters | {"seed": 0},
            "experiment_id": ids[2],
        }
        first, second = now["cells"]
        assert first["members"] == [0, 1]
        assert first["validation"] == {"mean": "NaN", "deviation": "NaN"}
        assert first["test"]["loss"]["mean"] == 6.0
        assert first["test"]["loss"]["deviation"] == pytest.approx(18**0.5)
        assert second == {
            "parameters": parameters,
            "members": [2, 3],
            "seeds": 2,
            "succeeded": 1,
            "metric": "loss",
            "validation": {"mean": 0.25, "deviation": None},
            "test": {"loss": {"mean": 1.0, "deviation": None}},
            "values": {},
        }
        assert now["best_cell"] is None, "the second cell has a single one, the first is not finite"
        scores = [each["score"] for each in members(client, record)]
        assert scores[0]["validation"] == "NaN"
        assert scores[1] == {
            "metric": "loss",
            "better": "lower",
            "hyperiteration": 3,
            "validation": 0.5,
            "test": {"loss": 3.0},
        }
        assert scores[3] is None
        slot.fail(ids[3], attempt, FAILURE)
        failed = members(client, record)[3]
        assert failed["error"]["code"] == "diverged"
        assert failed["progress"]["hyperiteration"] == 50
        assert client.get(record["links"]["self"]).json()["ended"]

    def test_the_best_cell(self, client: httpx.Client, slot: Any) -> None:
        record = submit(client)
        assert record["best_cell"] is None
        ids = [each["experiment_id"] for each in members(client, record)]
        for experiment_id, validation in zip(ids, (0.1, 0.9, 0.3, 0.4), strict=True):
            slot.succeed(experiment_id, slot.start(experiment_id), result(validation, 1.0))
        now = client.get(record["links"]["self"]).json()
        assert now["best"]["member"] == 0
        assert now["best_cell"] == now["cells"][1]
        assert now["best_cell"]["validation"]["mean"] == pytest.approx(0.35)

    def test_numbers_of_results(self, client: httpx.Client, slot: Any) -> None:
        record = submit(client)
        places = ["report.f1", "report.clean.1", "diagnostics.hypergradient_norm.worst", "test.loss.mean"]
        for path in ("self", "members"):  # no result says yet what is there
            assert client.get(record["links"][path], params={"value": places}).status_code == 200
        ids = [each["experiment_id"] for each in members(client, record)]
        for number, experiment_id in enumerate(ids[:3]):
            worst = {"hypergradient_norm": {"worst": "NaN" if number == 2 else number}}
            report = {"f1": number / 4, "clean": [True, number]} if number < 2 else {"text": "3"}
            slot.succeed(
                experiment_id, slot.start(experiment_id), result(0.5, 3.0) | {"report": report, "diagnostics": worst}
            )
        found = client.get(record["links"]["members"], params={"value": places}).json()["members"]
        assert [each["values"] for each in found] == [
            {places[0]: 0.0, places[1]: 0.0, places[2]: 0.0, places[3]: 3.0},
            {places[0]: 0.25, places[1]: 1.0, places[2]: 1.0, places[3]: 3.0},
            {places[2]: "NaN", places[3]: 3.0},
            {},
        ]
        assert list(found[0]["values"]) == places, "in the order asked for"
        first, second = client.get(record["links"]["self"], params={"value": places}).json()["cells"]
        assert first["values"][places[0]] == {"mean": 0.125, "deviation": pytest.approx(0.125 * 2**0.5)}
        assert second["values"] == {
            places[2]: {"mean": "NaN", "deviation": None},
            places[3]: {"mean": 3.0, "deviation": None},
        }

    @pytest.mark.parametrize(
        ("path", "instead"),
        [
            ("report.f2", "there are `report.f1`"),
            ("report", "there are `report.f1`, `report.precision`, `report.y.0`, `report.y.1`"),
            ("report.kind", "there are `report.f1`, `report.precision`"),
            ("memory.{x},y'", "there are `best.…`, `report.…`, `test.…`"),
            ("report..f1", "`report.f1`"),
        ],
    )
    @pytest.mark.parametrize("where", ["self", "members"])
    def test_a_number_that_is_not_there(
        self, client: httpx.Client, slot: Any, path: str, instead: str, where: str
    ) -> None:
        record = submit(client)
        experiment_id = members(client, record)[0]["experiment_id"]
        report = {"f1": 0.5, "precision": 0.25, "y": [1, 2], "kind": "x", "sure": True}
        slot.succeed(experiment_id, slot.start(experiment_id), result(0.5, 3.0) | {"report": report})
        refused = client.get(record["links"][where], params={"value": ["report.f1", path]})
        assert refused.status_code == 422
        told = refused.json()["errors"][0]
        assert told["parameter"] == "value"
        assert f"no member has a number at `{path}`: " in told["detail"]
        assert instead in told["detail"]

    def test_paths_are_few_and_parameters_known(self, client: httpx.Client) -> None:
        place = submit(client)["links"]["members"]
        assert client.get(place, params={"value": ["x"] * 20}).status_code == 200
        for wrong in ({"value": ["x"] * 21}, {"value": ""}, {"value": "a\x00b"}, {"values": "x"}, {"value": "a." * 99}):
            assert client.get(place, params=wrong).status_code == 422

    @pytest.mark.parametrize(("field", "compared"), [("inner_dimension", False), ("algorithm.dynamics.rate", True)])
    def test_members_judged_differently_have_no_best(
        self, client: httpx.Client, slot: Any, field: str, compared: bool
    ) -> None:
        record = submit(client, {"base": QUADRATIC, "grid": {field: [1, 2]}, "seeds": [0]})
        for number, each in enumerate(members(client, record)):
            slot.succeed(each["experiment_id"], slot.start(each["experiment_id"]), result(0.5 - number / 10, 1.0))
        now = client.get(record["links"]["self"]).json()
        assert (now["best"] is not None) == compared
        assert [cell["validation"]["mean"] for cell in now["cells"]] == [0.5, 0.4]

    def test_a_list_has_pages_and_filters(self, client: httpx.Client) -> None:
        made = [submit(client, SWEEP | {"name": f"sweep {n}", "labels": {"n": str(n % 2)}})["id"] for n in range(3)]
        page = client.get("/v1/sweeps", params={"page_size": 2}).json()
        assert [each["id"] for each in page["items"]] == [made[2], made[1]]
        assert page["items"][0].items() <= client.get(f"/v1/sweeps/{made[2]}").json().items()
        last = client.get("/v1/sweeps", params={"page_size": 2, "cursor": page["next"]}).json()
        assert ([each["id"] for each in last["items"]], last["next"]) == ([made[0]], None)

        def ids(**params: Any) -> list[str]:
            return [each["id"] for each in client.get("/v1/sweeps", params=params).json()["items"]]

        assert ids(label="n:0") == [made[2], made[0]]
        assert ids(name="EEP 1") == [made[1]]
        assert ids(id_prefix=made[1][:10]) == [made[1]]
        refused = client.get("/v1/sweeps", params={"status": "queued"})
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["parameter"] == "status"

    def test_experiments_of_a_sweep(self, client: httpx.Client) -> None:
        record = submit(client)
        client.post("/v1/experiments", json=QUADRATIC)
        found = client.get(record["links"]["experiments"]).json()["items"]
        assert [each["sweep"]["member"] for each in found] == [3, 2, 1, 0]
        assert len(client.get("/v1/experiments").json()["items"]) == 5
        assert client.get("/v1/experiments", params={"sweep": "x"}).status_code == 422
        nothing = client.get("/v1/experiments", params={"sweep": "6f0c1f6e-0000-4000-8000-000000000000"})
        assert nothing.json()["items"] == []


@pytest.mark.parametrize("where", ["", "/members", ":cancel", ":retry"])
@pytest.mark.parametrize("sweep_id", ["6f0c1f6e-0000-4000-8000-000000000000", "x"])
def test_there_is_no_such_sweep(refusing: httpx.Client, where: str, sweep_id: str) -> None:
    method = "POST" if ":" in where else "GET"
    answer = refusing.request(method, f"/v1/sweeps/{sweep_id}{where}")
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"
    assert "sweep" in answer.json()["detail"]


class TestCancelAndRetry:
    def test_cancel_says_whether_all_have_ended(self, client: httpx.Client, slot: Any) -> None:
        record = submit(client)
        ids = [each["experiment_id"] for each in members(client, record)]
        slot.succeed(ids[0], slot.start(ids[0]), result(0.5, 1.0))
        attempt = slot.start(ids[1])
        answer = client.post(record["links"]["cancel"])
        assert answer.status_code == 202
        counts = answer.json()["counts"]
        assert (counts["succeeded"], counts["cancelling"], counts["cancelled"]) == (1, 1, 2)
        assert client.post(record["links"]["cancel"]).json() == answer.json()
        slot.cancel(ids[1], attempt)
        again = client.post(record["links"]["cancel"])
        assert again.status_code == 200
        assert again.json()["counts"]["cancelled"] == 3

    def test_retry_says_how_many(self, client: httpx.Client, slot: Any, redis_socket: Path) -> None:
        record = submit(client)
        ids = [each["experiment_id"] for each in members(client, record)]
        slot.succeed(ids[0], slot.start(ids[0]), result(0.5, 1.0))
        slot.fail(ids[1], slot.start(ids[1]), FAILURE)
        client.post(record["links"]["cancel"])
        answer = client.post(record["links"]["retry"])
        assert answer.status_code == 202
        assert answer.json()["retried"] == 3
        assert answer.json()["sweep"]["version"] > record["version"]
        assert client.post(record["links"]["retry"]).json()["retried"] == 0
        again = members(client, record)
        assert [each["trial"] for each in again] == [1, 2, 2, 2]
        assert client.get(f"/v1/experiments/{ids[1]}").json()["status"] == "failed"
        assert client.get(f"/v1/experiments/{again[1]['experiment_id']}").json()["sweep"]["trial"] == 2
        assert len(client.get(record["links"]["experiments"]).json()["items"]) == 7
        slot.succeed(again[1]["experiment_id"], slot.start(again[1]["experiment_id"]), result(0.25, 2.0))
        now = client.get(record["links"]["self"]).json()
        assert (now["best"]["member"], now["best"]["trial"]) == (1, 2)
        assert now["cells"][0]["succeeded"] == 2
